//! Which endpoints an agent will talk to. They are published by strangers, so a name may lead anywhere, even into the
//! agent's own network: the address is checked after resolving, and the connection is pinned to it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use reqwest::Url;

use super::roots::Roots;

/// Longest endpoint, bytes.
const MAX_ENDPOINT_BYTES: usize = 512;
/// Nodes of a provider at most: what is published is 256 bytes long at most.
pub const MAX_NODES: usize = 8;
/// Longest wait for a name to resolve.
const RESOLVE_TIME: Duration = Duration::from_secs(5);

/// Where an agent will go.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Also to private and loopback addresses: for the demo preset.
    pub private: bool,
    /// Also without TLS, where everybody on the way reads along.
    pub plain_http: bool,
    /// Who vouches for certificates.
    pub roots: Roots,
}

impl Reach {
    /// Anywhere but to groups: for the demo preset, where everything is on one machine.
    pub fn demo() -> Self {
        Self { private: true, plain_http: true, roots: Roots::default() }
    }
}

/// An endpoint that may be talked to, with the addresses it was checked at.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Scheme, host and port.
    pub url: Url,
    /// Where to connect, and nowhere else.
    pub addresses: Vec<SocketAddr>,
}

/// The endpoint is refused.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Not of the known form.
    #[error("endpoint '{endpoint}' is refused: {why}; the provider must publish http(s)://host[:port]")]
    Form {
        /// As published, escaped and cut.
        endpoint: String,
        /// What is wrong.
        why: String,
    },
    /// The name leads nowhere.
    #[error("endpoint {endpoint} does not resolve: {why}; try again later or choose another provider")]
    Unresolved {
        /// As published.
        endpoint: String,
        /// What the resolver said.
        why: String,
    },
    /// Not private.
    #[error(
        "endpoint {endpoint} is plain HTTP, so everybody on the way could read the work and its result; \
         set agent.allow_plain_http = true to accept that"
    )]
    Plain {
        /// As published.
        endpoint: String,
    },
    /// It leads where strangers may not lead.
    #[error(
        "endpoint {endpoint} leads to {address}, which is {kind}; only public addresses are used outside the demo preset"
    )]
    NotPublic {
        /// As published.
        endpoint: String,
        /// Where it leads.
        address: IpAddr,
        /// What that is.
        kind: &'static str,
    },
}

/// The nodes of a provider, by what it published: endpoints with spaces between them.
///
/// # Errors
/// [`GuardError::Form`] when they are none, or too many.
pub fn nodes(published: &str) -> Result<Vec<&str>, GuardError> {
    let nodes: Vec<_> = published.split_ascii_whitespace().take(MAX_NODES + 1).collect();
    let why = match nodes.len() {
        0 => "it is empty".to_owned(),
        1..=MAX_NODES => return Ok(nodes),
        _ => format!("it has more than {MAX_NODES} nodes"),
    };
    Err(GuardError::Form { endpoint: shown(published), why })
}

fn shown(endpoint: &str) -> String {
    endpoint.chars().take(100).collect::<String>().escape_debug().to_string()
}

/// Checks and resolves the endpoint of one node.
///
/// # Errors
/// [`GuardError`].
pub async fn resolve(endpoint: &str, reach: &Reach) -> Result<Endpoint, GuardError> {
    let url = parse(endpoint)?;
    if url.scheme() == "http" && !reach.plain_http {
        return Err(GuardError::Plain { endpoint: url.to_string() });
    }
    let unresolved = |why: String| GuardError::Unresolved { endpoint: url.to_string(), why };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let found = tokio::time::timeout(RESOLVE_TIME, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| unresolved("no answer in 5 seconds".into()))?;
    let addresses: Vec<_> = found.map_err(|error| unresolved(error.to_string()))?.take(16).collect();
    if addresses.is_empty() {
        return Err(unresolved("it has no address".into()));
    }
    for address in &addresses {
        // One bad address is enough: which of them is used is the stranger's choice.
        if let Some(kind) = not_public(address.ip()).filter(|kind| !reach.private || *kind == MULTICAST) {
            return Err(GuardError::NotPublic { endpoint: url.to_string(), address: address.ip(), kind });
        }
    }
    Ok(Endpoint { url, addresses })
}

fn parse(endpoint: &str) -> Result<Url, GuardError> {
    let refuse = |why: &str| Err(GuardError::Form { endpoint: shown(endpoint), why: why.to_owned() });
    if endpoint.len() > MAX_ENDPOINT_BYTES {
        return refuse("it is longer than 512 bytes");
    }
    let url =
        Url::parse(endpoint).map_err(|error| GuardError::Form { endpoint: shown(endpoint), why: error.to_string() })?;
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("its scheme is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it carries a user name");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return refuse("it has a path, a query or a fragment");
    }
    if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
        return refuse("it has no host, or port 0");
    }
    // Other services of a host live there, which a request of ours could be taken for.
    if url.port().is_some_and(|port| port < 1_024 && !matches!(port, 80 | 443)) {
        return refuse("its port is below 1024 and neither 80 nor 443");
    }
    Ok(url)
}

const MULTICAST: &str = "a multicast address";

/// What a non-public address is (IANA special-purpose registries, RFC 6890); `None` for a public one.
fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => not_public_v4(address),
        IpAddr::V6(address) => not_public_v6(address),
    }
}

fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "an address of this host",
        [127, ..] => "a loopback address",
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => "a private address",
        [100, 64..=127, ..] => "a carrier's shared address",
        [169, 254, ..] => "a link-local address",
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            "a reserved address"
        }
        [224..=239, ..] => MULTICAST,
        [240..=255, ..] => "a reserved address",
        _ => return None,
    })
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        not_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an address of this host"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        // IPv4-mapped, and the translators' prefix: what counts is the IPv4 address inside.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        [0xfc00..=0xfdff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xff00..=0xffff, ..] => Some(MULTICAST),
        // Protocol assignments with Teredo, and documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("a reserved address"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_public_addresses_pass() {
        for public in [
            "1.1.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.1.1.1",
            "2606:4700::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(not_public(public.parse().unwrap()), None, "{public}");
        }
        for other in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "64:ff9b::7f00:1",
            "64:ff9b::c0a8:1",
            "64:ff9b:1::808:808",
            "192.0.0.170",
            "192.88.99.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "239.255.255.255",
            "febf::1",
            "5f00::1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "2002:7f00:1::",
            "fec0::1",
            "100::1",
            "::127.0.0.1",
        ] {
            assert!(not_public(other.parse().unwrap()).is_some(), "{other}");
        }
    }

    #[test]
    fn a_provider_has_one_to_eight_nodes() {
        assert_eq!(nodes("https://a.example").unwrap(), ["https://a.example"]);
        assert_eq!(nodes(" https://a.example  https://b.example\n").unwrap().len(), 2);
        assert_eq!(nodes(&"https://a.example ".repeat(8)).unwrap().len(), 8);
        for (published, word) in [("", "empty"), ("  ", "empty"), (&"https://a.example ".repeat(9), "more than 8")] {
            let error = nodes(published).unwrap_err().to_string();
            assert!(error.contains(word), "{published:?}: {error}");
        }
    }

    #[tokio::test]
    async fn endpoints_are_checked_where_they_lead() {
        async fn check(endpoint: &str, private: bool, expect: &str) {
            let reach = Reach { private, ..Reach::demo() };
            let error = resolve(endpoint, &reach).await.unwrap_err().to_string();
            assert!(error.contains(expect), "{endpoint}: {error}");
        }
        check("ftp://1.1.1.1", false, "neither http nor https").await;
        check("file:///etc/passwd", false, "neither http nor https").await;
        check("http://me:secret@1.1.1.1", false, "user name").await;
        check("http://1.1.1.1/v1?x", false, "a path").await;
        check("http://1.1.1.1:0", false, "port 0").await;
        for port in [1, 22, 25, 81, 445, 1_023] {
            check(&format!("http://1.1.1.1:{port}"), true, "below 1024").await;
            check(&format!("https://1.1.1.1:{port}"), false, "below 1024").await;
        }
        check("https://me@1.1.1.1", true, "user name").await;
        check("gopher://1.1.1.1", true, "neither http nor https").await;
        check("not a url", false, "refused").await;
        check(&format!("http://{}.org", "x".repeat(600)), false, "512").await;
        check("http://127.0.0.1:8080", false, "a loopback address").await;
        check("http://localhost:8080", false, "a loopback address").await;
        check("http://[::1]:8080", false, "a loopback address").await;
        // Other spellings of 127.0.0.1 and 169.254.169.254.
        check("http://2130706433", false, "a loopback address").await;
        check("http://0x7f.1", false, "a loopback address").await;
        check("http://0xa9fea9fe", false, "a link-local address").await;
        check("http://[::ffff:a00:1]", false, "a private address").await;
        check("http://[::ffff:127.0.0.1]:8080", false, "a loopback address").await;
        check("http://[64:ff9b::7f00:1]", false, "a loopback address").await;
        check("http://[64:ff9b:1::808:808]", false, "a reserved address").await;
        check("http://[ff02::1]", true, "a multicast address").await;
        check("http://[::ffff:224.0.0.1]", true, "a multicast address").await;
        check("http://017700000001", false, "a loopback address").await;
        check("http://127.1", false, "a loopback address").await;
        check("http://①②⑦.⓪.⓪.①", false, "a loopback address").await;
        check("http://224.0.0.1", true, "a multicast address").await;
        let private = resolve("http://127.0.0.1:8080", &Reach::demo()).await.unwrap();
        assert_eq!(private.addresses, ["127.0.0.1:8080".parse().unwrap()]);
        let public = resolve("https://1.1.1.1", &Reach::default()).await.unwrap();
        assert_eq!(public.addresses, ["1.1.1.1:443".parse().unwrap()]);
        let plain = resolve("http://1.1.1.1", &Reach::default()).await.unwrap_err();
        assert!(plain.to_string().contains("allow_plain_http"), "{plain}");
    }
}
