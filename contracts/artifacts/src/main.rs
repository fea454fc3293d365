//! Developer tool: compiles the contracts with foundry-compilers and writes their bytecode to
//! `contracts/artifacts/bytecode.json`, from which the crate `contracts` deploys. `--check` only compares.
//!
//! Settings and remappings come from `foundry.toml`, so that the bytecode is the one that forge tests.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use eyre::{Context as _, bail, ensure};
use foundry_compilers::{
    ConfigurableArtifacts, Project, ProjectBuilder, ProjectPathsConfig,
    artifacts::{BytecodeHash, EvmVersion, Settings, SettingsMetadata, remappings::Remapping},
    solc::{Solc, SolcCompiler, SolcLanguage, SolcSettings},
};
use serde::{Deserialize, Serialize};

/// What Rust deploys, by source file.
const CONTRACTS: [(&str, &str); 5] = [
    ("contracts/AIPowerRental.sol", "AIPowerRental"),
    ("contracts/AgentWallet.sol", "AgentWallet"),
    ("contracts/AgentWalletFactory.sol", "AgentWalletFactory"),
    ("node_modules/@openzeppelin/contracts/metatx/ERC2771Forwarder.sol", "ERC2771Forwarder"),
    ("test/mocks/AITToken.sol", "AITToken"),
];

#[derive(Parser)]
#[command(about = "Compiles the contracts and writes their bytecode")]
struct Args {
    /// Only check that the written bytecode is the compiled one.
    #[arg(long)]
    check: bool,
    /// Project folder.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

#[derive(Deserialize)]
struct FoundryToml {
    profile: Profiles,
}

/// Other profiles are for analysis and say only what they change.
#[derive(Deserialize)]
struct Profiles {
    default: Profile,
}

#[derive(Deserialize)]
struct Profile {
    solc: PathBuf,
    evm_version: String,
    via_ir: bool,
    optimizer: bool,
    optimizer_runs: usize,
    bytecode_hash: String,
    cbor_metadata: bool,
    remappings: Vec<String>,
}

/// Hex bytecode of one contract.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Bytecode {
    creation: String,
    runtime: String,
}

fn main() -> eyre::Result<()> {
    let args = Args::parse();
    let root = args.root.canonicalize().wrap_err_with(|| format!("{}: no such folder", args.root.display()))?;
    let target = root.join("contracts/artifacts/bytecode.json");
    let compiled = compile(&root)?;
    if !args.check {
        let text = serde_json::to_string_pretty(&compiled)? + "\n";
        return fs::write(&target, text).wrap_err_with(|| target.display().to_string());
    }
    let text = fs::read_to_string(&target).wrap_err_with(|| target.display().to_string())?;
    let written: BTreeMap<String, Bytecode> = serde_json::from_str(&text)?;
    for (name, bytecode) in &compiled {
        if written.get(name) != Some(bytecode) {
            bail!("{name}: contracts/artifacts/bytecode.json is stale; run `cargo run --release -p artifacts`");
        }
        let forge = root.join(format!("out/{name}.sol/{name}.json"));
        if let Ok(text) = fs::read_to_string(&forge) {
            let artifact: serde_json::Value = serde_json::from_str(&text)?;
            let by_forge = artifact["bytecode"]["object"].as_str().unwrap_or_default();
            ensure!(by_forge == bytecode.creation, "{name}: forge compiles other bytecode; compare the settings");
        }
    }
    Ok(())
}

fn compile(root: &Path) -> eyre::Result<BTreeMap<String, Bytecode>> {
    let text = fs::read_to_string(root.join("foundry.toml")).wrap_err("foundry.toml")?;
    let config: FoundryToml = toml::from_str(&text).wrap_err("foundry.toml")?;
    let project = project(root, &config.profile.default)?;
    let files: Vec<_> = CONTRACTS.iter().map(|(file, _)| root.join(file)).collect();
    let output = project.compile_files(files)?;
    ensure!(!output.has_compiler_errors(), "the contracts do not compile:\n{output}");
    let artifacts: BTreeMap<_, _> = output.into_artifacts().map(|(id, artifact)| (id.name.clone(), artifact)).collect();
    let mut compiled = BTreeMap::new();
    for (_, name) in CONTRACTS {
        let artifact = artifacts.get(name).ok_or_else(|| eyre::eyre!("{name} was not compiled"))?;
        let hex = |object: Option<String>| object.ok_or_else(|| eyre::eyre!("{name} has unlinked or no bytecode"));
        let creation = artifact.bytecode.as_ref().and_then(|code| code.object.as_bytes()).map(ToString::to_string);
        let runtime = artifact
            .deployed_bytecode
            .as_ref()
            .and_then(|code| code.bytecode.as_ref()?.object.as_bytes())
            .map(ToString::to_string);
        compiled.insert(name.to_owned(), Bytecode { creation: hex(creation)?, runtime: hex(runtime)? });
    }
    Ok(compiled)
}

fn project(root: &Path, profile: &Profile) -> eyre::Result<Project<SolcCompiler>> {
    ensure!(profile.bytecode_hash == "none", "foundry.toml: bytecode_hash must be none, for reproducible bytecode");
    let remappings: Vec<Remapping> = profile.remappings.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let remappings = remappings.into_iter().map(|mut remapping| {
        remapping.path = root.join(&remapping.path).display().to_string();
        remapping
    });
    let mut paths: ProjectPathsConfig<SolcLanguage> = ProjectPathsConfig::builder()
        .sources(root.join("contracts"))
        .artifacts(root.join("cache/artifacts"))
        .cache(root.join("cache/artifacts.json"))
        .build_infos(root.join("cache/build-info"))
        .remappings(remappings)
        .build_with_root(root);
    paths.include_paths.insert(root.join("node_modules"));
    paths.allowed_paths.insert(root.to_owned());
    let evm_version: EvmVersion = profile.evm_version.parse().map_err(|error: String| eyre::eyre!(error))?;
    let mut settings = Settings {
        evm_version: Some(evm_version),
        via_ir: Some(profile.via_ir),
        metadata: Some(SettingsMetadata {
            use_literal_content: None,
            bytecode_hash: Some(BytecodeHash::None),
            cbor_metadata: Some(profile.cbor_metadata),
        }),
        ..Default::default()
    };
    settings.optimizer.enabled = Some(profile.optimizer);
    settings.optimizer.runs = Some(profile.optimizer_runs);
    let solc = Solc::new(root.join(&profile.solc)).wrap_err("script/solc does not run; is Node installed?")?;
    let builder = ProjectBuilder::<SolcCompiler>::new(ConfigurableArtifacts::default());
    let settings = SolcSettings { settings, ..Default::default() };
    Ok(builder.paths(paths).settings(settings).build(SolcCompiler::Specific(solc))?)
}
