//! A worker that misbehaves on demand. The tests compile it with `rustc` into one static binary.
//!
//! `task.json` names what to do in its parameter `act`; what was found out goes to `report` in the output folder.

use std::{fs, io::Write, net, path::PathBuf, process::exit, thread, time::Duration};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--hold") {
        loop {
            thread::park();
        }
    }
    let folder = |name: &str, default: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        PathBuf::from(at.and_then(|at| arguments.get(at + 1)).map_or(default, String::as_str))
    };
    let (input, output) = (folder("--in", "/in"), folder("--out", "/out"));
    let task = fs::read_to_string(input.join("task.json")).expect("task.json");
    let act = task.split("\"act\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an act").to_owned();
    let report = |text: String| fs::write(output.join("report"), text).expect("report");

    match act.as_str() {
        "copy" => {
            fs::create_dir_all(output.join("deep/er")).expect("folder");
            for blob in fs::read_dir(input.join("blobs")).expect("blobs") {
                let blob = blob.expect("blob");
                fs::copy(blob.path(), output.join("deep/er").join(blob.file_name())).expect("copy");
            }
            report("done".into());
        }
        "seal" => report(seal(&input)),
        "memory" => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&kept);
            }
        }
        "threads" => {
            let mut count = 0;
            while count < 500
                && thread::Builder::new().stack_size(64 << 10).spawn(|| thread::sleep(Duration::from_secs(60))).is_ok()
            {
                count += 1;
            }
            report(count.to_string());
            exit(0);
        }
        "fill" => {
            let path = output.join("big");
            let mut file = fs::File::create(&path).expect("big");
            let mut mib = 0;
            while mib < 1_024 && file.write_all(&[7; 1 << 20]).is_ok() {
                mib += 1;
            }
            drop(file);
            fs::remove_file(&path).expect("remove");
            report(mib.to_string());
        }
        "many" => {
            let mut files = 0;
            while files < 100_000 && fs::File::create(output.join(format!("f{files}"))).is_ok() {
                files += 1;
            }
            eprintln!("{files} files");
        }
        "link" => std::os::unix::fs::symlink("/etc/passwd", output.join("link")).expect("link"),
        "sleep" => {
            report("asleep".into());
            thread::sleep(Duration::from_secs(600));
        }
        "flood" => {
            for _ in 0..40_000 {
                eprintln!("{}", "x".repeat(99));
            }
            eprintln!("the last\x1b word");
            exit(65);
        }
        other => panic!("no act '{other}'"),
    }
}

/// What a sealed worker must not be able to do, as `name=answer` lines.
fn seal(input: &std::path::Path) -> String {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("?")
            .split_whitespace()
            .next()
            .unwrap_or("?")
            .to_owned()
    };
    let interfaces = fs::read_to_string("/proc/net/dev").expect("interfaces");
    let interfaces: Vec<_> =
        interfaces.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    let connect = net::TcpStream::connect_timeout(&"192.0.2.1:80".parse().expect("address"), Duration::from_secs(2));
    let denied =
        |result: std::io::Result<()>| result.err().map_or("possible".to_owned(), |error| format!("{:?}", error.kind()));
    [
        ("uid", field("Uid:")),
        ("gid", field("Gid:")),
        ("capabilities", field("CapEff:")),
        ("bounding", field("CapBnd:")),
        ("no_new_privileges", field("NoNewPrivs:")),
        ("seccomp", field("Seccomp:")),
        ("interfaces", interfaces.join(",")),
        ("connect", denied(connect.map(drop))),
        ("write_root", denied(fs::write("/new", "x"))),
        ("write_in", denied(fs::write(input.join("new"), "x"))),
        (
            "environment",
            std::env::vars()
                .map(|(name, _)| name)
                .filter(|name| name != "PATH" && name != "HOSTNAME")
                .collect::<Vec<_>>()
                .join(","),
        ),
    ]
    .map(|(name, answer)| format!("{name}={answer}\n"))
    .concat()
}
