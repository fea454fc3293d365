//! Whether the world is as a configuration says: keys open, the chain is the right one, contracts are where they should
//! be, the engine answers, ports are free. Nothing is changed.

mod node;

use std::net::SocketAddr;

use alloy::{
    primitives::{Address, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
};
use contracts::{
    bindings::{IAIPowerRental as Market, IAgentWallet as Wallet, IAgentWalletFactory as Factory, IERC20},
    params::Preset,
    units::Amount,
};
use serde::Serialize;

use super::{Config, EngineKind, KeyConfig, ProviderConfig, TlsConfig, show::without_secrets};
use crate::{
    act::containers::{Engine, EngineConfig},
    blobs::{Roots, Tls},
    keys,
    seller::Seller,
    socket::SOCKET_NAME,
};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Field or fields.
    pub field: String,
    /// Whether a keeper can run with it.
    pub good: bool,
    /// What was found, and the remedy when it is not good.
    pub text: String,
}

/// Looks at everything that `config` names.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut list = Findings::default();
    let own_keeper_runs = tokio::net::UnixStream::connect(config.data_dir.join(SOCKET_NAME)).await.is_ok();
    list.data_dir(config, own_keeper_runs);
    let keys = list.keys(config).await;
    let chain = list.chain(config).await;
    if let Some((provider, token)) = &chain {
        list.agent(config, provider, *token, &keys).await;
        list.seller(config, provider, *token, &keys).await;
    }
    if let Some(provider) = &config.provider {
        list.engine(config, provider).await;
        list.endpoint(config, provider);
        list.tls(provider);
    }
    list.reach(config);
    let ports = [
        ("provider.listen", config.provider.as_ref().map(|provider| provider.listen)),
        ("api.listen", config.api.as_ref().map(|api| api.listen)),
        ("metrics.listen", config.metrics.as_ref().map(|metrics| metrics.listen)),
    ];
    for (field, address) in ports {
        if let Some(address) = address {
            list.port(field, address, own_keeper_runs);
        }
    }
    list.0
}

/// Addresses of the keys that opened.
#[derive(Default)]
struct Opened {
    session: Option<Address>,
    /// With the field that names each.
    relayers: Vec<(&'static str, Address)>,
    provider: Option<Address>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, field: &str, text: impl Into<String>) {
        self.0.push(Finding { field: field.into(), good: true, text: text.into() });
    }

    fn bad(&mut self, field: &str, text: impl Into<String>) {
        self.0.push(Finding { field: field.into(), good: false, text: text.into() });
    }

    fn data_dir(&mut self, config: &Config, own_keeper_runs: bool) {
        let dir = &config.data_dir;
        let shown = dir.display();
        if own_keeper_runs {
            return self.good("data_dir", format!("{shown}: a keeper runs in it"));
        }
        // The nearest folder that exists decides whether the rest can be made.
        let Some(there) = dir.ancestors().find(|folder| folder.exists()) else {
            return self.bad("data_dir", format!("{shown} has no parent folder; make it"));
        };
        match tempfile::Builder::new().prefix(".keeper-check-").tempfile_in(there) {
            Ok(_) => self.good("data_dir", format!("{shown} can be written")),
            Err(error) => {
                self.bad("data_dir", format!("{shown} cannot be written ({error}); let the keeper's user write it"))
            }
        }
    }

    async fn keys(&mut self, config: &Config) -> Opened {
        let mut opened = Opened::default();
        if let Some(agent) = &config.agent {
            opened.session = self.key("agent.session_key", &agent.session_key).await;
            let more = agent.more_relayer_keys.iter().map(|key| ("agent.more_relayer_keys", key));
            for (field, key) in std::iter::once(("agent.relayer_key", &agent.relayer_key)).chain(more) {
                opened.relayers.extend(self.key(field, key).await.map(|address| (field, address)));
            }
        }
        if let Some(provider) = &config.provider {
            opened.provider = self.key("provider.key", &provider.key).await;
        }
        let senders = opened.relayers.iter().map(|(_, address)| *address).chain(opened.provider);
        if let Err(error) = keys::one_owner_each(senders) {
            self.bad("agent.relayer_key", error.to_string());
        }
        opened
    }

    async fn key(&mut self, field: &str, key: &KeyConfig) -> Option<Address> {
        let owned = key.clone();
        // Slow by design.
        let address = match tokio::task::spawn_blocking(move || keys::load(&owned)).await {
            Ok(Ok(signer)) => signer.address(),
            Ok(Err(error)) => {
                self.bad(field, error.to_string());
                return None;
            }
            Err(error) => {
                self.bad(field, format!("opening it failed: {error}"));
                return None;
            }
        };
        match open_to_others(&key.keystore) {
            true => self
                .bad(field, format!("{} can be read by others than its owner; chmod 600 it", key.keystore.display())),
            false => self.good(field, format!("opens; its address is {address}")),
        }
        Some(address)
    }

    /// The first endpoint that serves the right chain, and the market's token.
    async fn chain(&mut self, config: &Config) -> Option<(DynProvider, Address)> {
        let chain = &config.chain;
        let mut usable = None;
        for url in &chain.rpc_urls {
            let shown = without_secrets(url);
            let Ok(parsed) = url.parse() else {
                self.bad("chain.rpc_urls", format!("{shown} is no URL; write http://host:port"));
                continue;
            };
            let provider = ProviderBuilder::default().connect_http(parsed).erased();
            match provider.get_chain_id().await {
                Ok(id) if id == chain.chain_id => {
                    self.good("chain.rpc_urls", format!("{shown} serves chain {id}"));
                    usable = usable.or(Some(provider));
                }
                Ok(id) => self.bad(
                    "chain.chain_id",
                    format!("{shown} serves chain {id}, not {}; correct chain_id or the URL", chain.chain_id),
                ),
                Err(_) => self.bad("chain.rpc_urls", format!("{shown} does not answer; check it, or give another")),
            }
        }
        let provider = usable?;
        for (field, address) in
            [("chain.market", chain.market), ("chain.factory", chain.factory), ("chain.forwarder", chain.forwarder)]
        {
            match provider.get_code_at(address).await {
                Ok(code) if code.is_empty() => {
                    self.bad(field, format!("{address} has no code on this chain; check the address"))
                }
                Ok(_) => self.good(field, format!("{address} has code")),
                Err(_) => self.bad(field, format!("the code of {address} cannot be read; does the endpoint work?")),
            }
        }
        let token = self.market(config, &provider).await?;
        Some((provider, token))
    }

    async fn market(&mut self, config: &Config, provider: &DynProvider) -> Option<Address> {
        let chain = &config.chain;
        let market = Market::new(chain.market, provider);
        let (Ok(token), Ok(factory), Ok(timing)) =
            (market.token().call().await, market.factory().call().await, market.timing().call().await)
        else {
            self.bad("chain.market", format!("{} does not answer like the market; check the address", chain.market));
            return None;
        };
        if factory != chain.factory {
            self.bad("chain.factory", format!("the market's factory is {factory}, not {}; correct it", chain.factory));
        }
        if timing == chain.preset.params().timing() {
            self.good("chain.preset", format!("the market has the clocks of preset {}", chain.preset));
        } else {
            self.bad(
                "chain.preset",
                format!("the market's clocks are not those of preset {}; use the other", chain.preset),
            );
        }
        if let Ok(head) = provider.get_block_number().await
            && head < chain.start_block
        {
            self.bad("chain.start_block", format!("the chain is only at block {head}; use the market's own"));
        }
        Some(token)
    }

    async fn agent(&mut self, config: &Config, provider: &DynProvider, token: Address, keys: &Opened) {
        let Some(agent) = &config.agent else { return };
        let address = agent.wallet;
        let factory = Factory::new(config.chain.factory, provider);
        if !factory.isWallet(address).call().await.unwrap_or_default() {
            return self.bad(
                "agent.wallet",
                format!("{address} is no wallet of this factory; `keeper wallet create` makes one"),
            );
        }
        let wallet = Wallet::new(address, provider);
        let tokens = held(token, address, provider).await;
        match tokens {
            Some(Amount::ZERO) => {
                self.bad("agent.wallet", format!("{address} holds no AIT; `keeper wallet fund` pays in"))
            }
            Some(tokens) => self.good("agent.wallet", format!("{address} holds {tokens}")),
            None => self.bad("agent.wallet", "its AIT cannot be read; does the endpoint work?"),
        }
        if wallet.paused().call().await.unwrap_or_default() {
            self.bad("agent.wallet", "it is paused; its owner resumes it with `keeper wallet resume`");
        }
        if let Some(session) = keys.session {
            if wallet.isActive(session).call().await.unwrap_or_default() {
                self.good("agent.session_key", "the wallet has authorised it");
            } else {
                self.bad(
                    "agent.session_key",
                    format!("the wallet has not authorised {session}; its owner does with `keeper wallet authorise {session}`"),
                );
            }
        }
        for (field, relayer) in &keys.relayers {
            self.gas(field, *relayer, provider).await;
        }
    }

    async fn seller(&mut self, config: &Config, provider: &DynProvider, token: Address, keys: &Opened) {
        let (Some(set), Some(address)) = (&config.provider, keys.provider) else { return };
        self.gas("provider.key", address, provider).await;
        let market = Market::new(config.chain.market, provider);
        let seller = Seller::of(set, address);
        self.node(set, &seller, &market).await;
        let base = market.classBase(set.class.number()).call().await.unwrap_or_default();
        if base == 0 {
            return self.bad("provider.class", format!("the market has no class {}; sell another", set.class));
        }
        if seller.offers.is_some() {
            // Their owner paid the bonds.
            return;
        }
        let registered = market.isProvider(address).call().await.unwrap_or_default();
        let credit = market.creditOf(address).call().await.map(Amount::from).unwrap_or_default();
        match held(token, address, provider).await {
            // One that sells already has its bonds in the market.
            Some(tokens) if tokens + credit > Amount::ZERO || registered => {
                self.good("provider.key", format!("{address} holds {tokens} for bonds"));
            }
            Some(_) => self.bad("provider.key", format!("{address} holds no AIT for the slots' bonds; send it some")),
            None => self.bad("provider.key", "its AIT cannot be read; does the endpoint work?"),
        }
    }

    async fn gas(&mut self, field: &str, address: Address, provider: &DynProvider) {
        match provider.get_balance(address).await {
            Ok(U256::ZERO) => {
                self.bad(field, format!("{address} holds no gas coin, so it can send nothing; send it some"))
            }
            Ok(_) => self.good(field, "it has gas coin"),
            Err(_) => self.bad(field, format!("the gas coin of {address} cannot be read; does the endpoint work?")),
        }
    }

    async fn engine(&mut self, config: &Config, provider: &ProviderConfig) {
        if !provider.worker.is_file() {
            return self
                .bad("provider.worker", format!("{} is no file; build the static worker", provider.worker.display()));
        }
        self.good("provider.worker", format!("{} is there", provider.worker.display()));
        let engine = match provider.engine {
            EngineKind::Docker => {
                EngineConfig::Docker { socket: provider.docker_socket.clone(), owner: "config-check".into() }
            }
            EngineKind::Process => {
                let text = "plain processes isolate nothing; use docker, except for development";
                return match config.chain.preset {
                    Preset::Demo => self.good("provider.engine", text),
                    Preset::L2 => self.bad("provider.engine", text),
                };
            }
        };
        match Engine::connect(&engine).await {
            Ok(engine) => self.good("provider.engine", format!("{} answers", engine.name())),
            Err(error) => self.bad("provider.engine", error.to_string()),
        }
    }

    fn endpoint(&mut self, config: &Config, provider: &ProviderConfig) {
        let field = "provider.endpoint";
        let published = provider.published(provider.listen);
        let how = match provider.offers {
            Some(_) => "is for the provider's owner to publish, beside the other nodes'",
            None => "is published",
        };
        let is_url = |text: &str| {
            reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        match (&provider.bucket, &provider.endpoint) {
            (Some(_), _) => self.good("provider.bucket", format!("{published} {how}")),
            (None, Some(endpoint)) if !is_url(endpoint) => {
                self.bad(field, format!("'{endpoint}' is no http(s)://host[:port]"))
            }
            (None, None) if config.chain.preset != Preset::Demo => self.bad(
                field,
                format!("{published} {how}, since none is given; give the URL at which agents reach this node"),
            ),
            _ => self.good(field, format!("{published} {how}")),
        }
    }

    fn tls(&mut self, provider: &ProviderConfig) {
        let Some(TlsConfig { certificate, key }) = &provider.tls else { return };
        match Tls::open(certificate, key) {
            Ok(_) => self.good("provider.tls", format!("{} and its key can be used", certificate.display())),
            Err(error) => self.bad("provider.tls", error.to_string()),
        }
    }

    /// What the other side is met with: roots of trust, and the keys of buckets.
    fn reach(&mut self, config: &Config) {
        if let Some(path) = config.agent.as_ref().and_then(|agent| agent.extra_ca.as_ref()) {
            match Roots::default().trust(path) {
                Ok(()) => self.good("agent.extra_ca", format!("{} can be used", path.display())),
                Err(error) => self.bad("agent.extra_ca", error.to_string()),
            }
        }
        let of_agent = config.agent.iter().flat_map(|agent| &agent.buckets).map(|bucket| ("agent.buckets", bucket));
        let of_provider = config.provider.iter().flat_map(|provider| &provider.bucket);
        for (field, bucket) in of_agent.chain(of_provider.map(|bucket| ("provider.bucket", bucket))) {
            let url = std::path::Path::new(&bucket.url);
            let keys = [&bucket.access_key, &bucket.secret_key].map(|reference| keys::secret(reference, url));
            match keys.into_iter().collect::<Result<Vec<_>, _>>() {
                Ok(_) => self.good(field, format!("the keys of {} are there", bucket.url)),
                Err(error) => self.bad(field, error.to_string()),
            }
        }
    }

    fn port(&mut self, field: &str, address: SocketAddr, own_keeper_runs: bool) {
        match std::net::TcpListener::bind(address) {
            Ok(_) => self.good(field, format!("{address} is free")),
            Err(_) if own_keeper_runs => self.good(field, format!("{address} is taken, by the keeper that runs here")),
            Err(error) => {
                self.bad(field, format!("{address} cannot be listened on ({error}); is the port taken? Choose another"))
            }
        }
    }
}

async fn held(token: Address, of: Address, provider: &DynProvider) -> Option<Amount> {
    let units = IERC20::new(token, provider).balanceOf(of).call().await.ok()?;
    Some(Amount::from_units(units))
}

/// Whether others than its owner may read a file.
fn open_to_others(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o077 != 0)
}
