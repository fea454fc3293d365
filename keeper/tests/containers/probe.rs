//! A worker that misbehaves on demand. The tests compile it with `rustc` into one static binary.
//!
//! `task.json` names what to do in its parameter `act`; what was found out goes to `report` in the output folder.

use std::{
    ffi::{CString, c_char},
    fs,
    io::Write,
    net, os,
    path::{Path, PathBuf},
    process::{Command, exit},
    thread,
    time::Duration,
};

// The C library is linked by `std` already.
unsafe extern "C" {
    fn kill(process: i32, number: i32) -> i32;
    fn signal(number: i32, handler: usize) -> usize;
    fn mkfifo(path: *const c_char, mode: u32) -> i32;
    fn mknod(path: *const c_char, mode: u32, device: u64) -> i32;
    fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
}

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
        "nap" => {
            thread::sleep(Duration::from_secs(4));
            exit(3);
        }
        "suicide" => {
            // SAFETY: 9 is SIGKILL, and the process is this one.
            unsafe { kill(std::process::id() as i32, 9) };
        }
        // Every process makes more of itself for as long as it lives.
        "bomb" => loop {
            let _ = Command::new("/proc/self/exe").args(&arguments[1..]).spawn();
        },
        "deaf" => {
            // SAFETY: 15 is SIGTERM and 1 is SIG_IGN; nothing else of the process depends on either.
            unsafe { signal(15, 1) };
            report("deaf".into());
            thread::sleep(Duration::from_secs(600));
        }
        "hoard" => {
            let places = [output.clone(), "/dev/shm".into(), "/tmp".into(), "/dev/mqueue".into(), "/".into(), input];
            let taken: u64 = places.iter().map(|place| hoard(place)).sum();
            eprintln!("{taken} MiB");
            exit(3);
        }
        "sparse" => {
            fs::File::create(output.join("sparse")).and_then(|file| file.set_len(1 << 40)).expect("sparse");
            exit(3);
        }
        "pipe" => {
            let path = CString::new(output.join("pipe").into_os_string().into_encoded_bytes()).expect("path");
            // SAFETY: the path is a C string that outlives the call.
            assert_eq!(unsafe { mkfifo(path.as_ptr(), 0o600) }, 0);
            exit(3);
        }
        "device" => {
            let path = CString::new(output.join("disk").into_os_string().into_encoded_bytes()).expect("path");
            // SAFETY: the path is a C string that outlives the call; 0x801 is the first partition of the first disk.
            let made = unsafe { mknod(path.as_ptr(), 0o060_600, 0x801) };
            exit(if made == 0 { 4 } else { 3 });
        }
        "names" => {
            fs::write(output.join("a\nb"), "x").expect("a name with a line break");
            exit(3);
        }
        "deep" => {
            let deep = (0..40).fold(output.clone(), |path, _| path.join("d"));
            fs::create_dir_all(&deep).and_then(|()| fs::write(deep.join("f"), "x")).expect("deep folders");
            exit(3);
        }
        "sockets" => {
            let reached = sockets();
            eprintln!("{reached:?}");
            exit(if reached.is_empty() { 3 } else { 4 });
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

/// Fills a folder and leaves it full; how many MiB went in, at most 256.
fn hoard(place: &Path) -> u64 {
    let mut taken = 0;
    if let Ok(mut file) = fs::File::create(place.join("hoard")) {
        while taken < 256 && file.write_all(&[7; 1 << 20]).is_ok() {
            taken += 1;
        }
    }
    taken
}

/// Ways out of the sandbox that are open, by name.
fn sockets() -> Vec<String> {
    let mut open = Vec::new();
    for address in ["192.0.2.1:80", "10.0.0.1:80", "172.17.0.1:2375", "169.254.169.254:80", "8.8.8.8:53"] {
        let target = address.parse().expect("address");
        if net::TcpStream::connect_timeout(&target, Duration::from_secs(1)).is_ok() {
            open.push(format!("tcp {address}"));
        }
        let datagram = net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", target));
        if datagram.is_ok() {
            open.push(format!("udp {address}"));
        }
    }
    for path in ["/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock"] {
        if os::unix::net::UnixStream::connect(path).is_ok() {
            open.push(path.into());
        }
    }
    // Internet packets in the raw, Ethernet frames in the raw.
    for (domain, kind, protocol) in [(2, 3, 1), (17, 3, 0x0300)] {
        // SAFETY: a socket call takes three numbers; the descriptor is the process's own and ends with it.
        if unsafe { socket(domain, kind, protocol) } >= 0 {
            open.push(format!("raw socket {domain}"));
        }
    }
    open
}

/// What a sealed worker must not be able to do, as `name=answer` lines.
fn seal(input: &Path) -> String {
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
