//! lambda-driver: a small AWS Lambda Runtime API emulator that starts a runtime process, feeds it events and
//! measures cold start, warm latency, peak memory and CPU. Standard library only, one file; owns every clock
//! reading behind the first table of docs/performance.md. `cargo run --release -p bench -- functions` builds it
//! and runs it.
//!
//! init: from before the spawn to the process's first GET .../next. first: from sending the first event to the
//! end of its answer. cold: both. warm: the same for all later events. CPU is the process's own, from the
//! kernel's CPU clock of the process; RSS its peak resident set.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const USAGE: &str = "\
usage: lambda-driver [GLOBAL] --fn NAME --cmd 'PROGRAM ARGS' [PER-FN] [--fn NAME2 --cmd ...]

Runs every function --colds times, alternating between functions, and prints one table.
With two or more functions it also prints each one's ratio to the first.

GLOBAL (before the first --fn)
  --event FILE     event file; repeatable, cycled over the invocations; also per function
  --jsonl FILE     one event per line; repeatable; also per function
  --colds N        counted process starts per function          (default 10)
  --warms N        warm invocations after the first, per start   (default 100)
  --discard N      uncounted starts per function before          (default 1)
  --advance        each start takes up the events where the last one stopped, so that none
                   is delivered twice (give it starts x invocations events)
  --pause MS       idle time between the first and the warm ones (default 0)
  --memory MB      AWS_LAMBDA_FUNCTION_MEMORY_SIZE               (default 512)
  --timeout S      limit for init, and for each invocation       (default 30)
  --env K=V        environment of the function; also per function
  --keep-env       inherit this shell's environment (default: PATH only)
  --expect STR     each response must contain STR (blanks ignored); also per function
  --json FILE      write every sample to FILE, times in nanoseconds
  --show           print the first response of each function
PER-FN
  --cmd CMD        command line (split like a shell would, no expansion)
  --dir DIR        working directory and LAMBDA_TASK_ROOT
  --handler H      _HANDLER                                       (default bootstrap)
  --event / --jsonl / --env / --expect as above

Placeholders replaced in events: {{n}} {{rand}} {{uuid}} {{now_ms}}
Exit status: 0 all invocations good, 1 some failed, 2 wrong usage.";

// ---------------------------------------------------------------- libc bits (no crates)
#[repr(C)]
struct Timespec {
    sec: i64,
    nsec: i64,
}
extern "C" {
    fn clock_gettime(clk: i32, ts: *mut Timespec) -> i32;
    fn kill(pid: i32, sig: i32) -> i32;
}
/// CPU time of a live process, all threads, living and ended (posix cpu clock of a pid).
fn cpu_ns(pid: u32) -> u64 {
    let mut total = 0;
    for p in tree(pid) {
        let mut ts = Timespec { sec: 0, nsec: 0 };
        let clk = ((!(p as i32)) << 3) | 2;
        if unsafe { clock_gettime(clk, &mut ts) } == 0 {
            total += ts.sec as u64 * 1_000_000_000 + ts.nsec as u64;
        }
    }
    total
}
fn tree(pid: u32) -> Vec<u32> {
    let mut out = vec![pid];
    let mut i = 0;
    while i < out.len() {
        if let Ok(s) = fs::read_to_string(format!("/proc/{0}/task/{0}/children", out[i])) {
            out.extend(s.split_whitespace().filter_map(|x| x.parse::<u32>().ok()));
        }
        i += 1;
    }
    out
}
/// Peak resident set in KiB, summed over the process tree.
fn hwm_kib(pid: u32) -> u64 {
    tree(pid)
        .iter()
        .map(|p| {
            let s = fs::read_to_string(format!("/proc/{p}/status")).unwrap_or_default();
            s.lines()
                .find_map(|l| l.strip_prefix("VmHWM:"))
                .and_then(|v| v.trim().trim_end_matches(" kB").trim().parse().ok())
                .unwrap_or(0)
        })
        .sum()
}

// ---------------------------------------------------------------- options
#[derive(Clone, Default)]
struct Fun {
    name: String,
    cmd: Vec<String>,
    dir: Option<String>,
    handler: String,
    env: Vec<(String, String)>,
    events: Vec<Vec<u8>>,
    expect: Option<String>,
}
struct Opts {
    funs: Vec<Fun>,
    colds: usize,
    warms: usize,
    discard: usize,
    pause: u64,
    memory: String,
    timeout: u64,
    keep_env: bool,
    advance: bool,
    json: Option<String>,
    show: bool,
}

fn die(m: &str) -> ! {
    eprintln!("lambda-driver: {m}\n\n{USAGE}");
    std::process::exit(2)
}
fn split_cmd(s: &str) -> Vec<String> {
    let (mut out, mut cur, mut has, mut q) = (vec![], String::new(), false, None);
    let mut it = s.chars();
    while let Some(c) = it.next() {
        match (q, c) {
            (Some(x), c) if c == x => q = None,
            (Some('\''), c) => cur.push(c),
            (_, '\\') => {
                if let Some(n) = it.next() {
                    cur.push(n);
                    has = true
                }
            }
            (None, '\'' | '"') => {
                q = Some(c);
                has = true
            }
            (None, c) if c.is_whitespace() => {
                if has {
                    out.push(std::mem::take(&mut cur));
                    has = false
                }
            }
            (_, c) => {
                cur.push(c);
                has = true
            }
        }
    }
    if has {
        out.push(cur)
    }
    out
}
fn parse() -> Opts {
    let mut o = Opts {
        funs: vec![],
        colds: 10,
        warms: 100,
        discard: 1,
        pause: 0,
        memory: "512".into(),
        timeout: 30,
        keep_env: false,
        advance: false,
        json: None,
        show: false,
    };
    let mut base = Fun { handler: "bootstrap".into(), ..Default::default() };
    let mut own_events = false;
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() || args.iter().any(|a| a == "-h" || a == "--help") {
        println!("{USAGE}");
        std::process::exit(if args.is_empty() { 2 } else { 0 })
    }
    let mut it = args.into_iter();
    while let Some(a) = it.next() {
        match a.as_str() {
            "--keep-env" => {
                o.keep_env = true;
                continue;
            }
            "--show" => {
                o.show = true;
                continue;
            }
            "--advance" => {
                o.advance = true;
                continue;
            }
            _ => {}
        }
        let v = it.next().unwrap_or_else(|| die(&format!("{a} needs a value")));
        let num =
            |v: &str| v.parse::<u64>().unwrap_or_else(|_| die(&format!("{a}: not a number: {v}")));
        match a.as_str() {
            "--fn" => {
                o.funs.push(Fun { name: v, ..base.clone() });
                own_events = false;
                continue;
            }
            "--colds" => {
                o.colds = num(&v).max(1) as usize;
                continue;
            }
            "--warms" => {
                o.warms = num(&v) as usize;
                continue;
            }
            "--discard" => {
                o.discard = num(&v) as usize;
                continue;
            }
            "--pause" => {
                o.pause = num(&v);
                continue;
            }
            "--memory" => {
                num(&v);
                o.memory = v;
                continue;
            }
            "--timeout" => {
                o.timeout = num(&v).max(1);
                continue;
            }
            "--json" => {
                o.json = Some(v);
                continue;
            }
            _ => {}
        }
        let per_fn = !o.funs.is_empty();
        let f = o.funs.last_mut().unwrap_or(&mut base);
        match a.as_str() {
            "--env" => {
                let (k, x) =
                    v.split_once('=').unwrap_or_else(|| die(&format!("--env {v}: want K=V")));
                f.env.push((k.into(), x.into()))
            }
            "--expect" => f.expect = Some(v),
            "--event" | "--jsonl" => {
                let b = fs::read(&v).unwrap_or_else(|e| die(&format!("{v}: {e}")));
                if per_fn && !own_events {
                    f.events.clear();
                    own_events = true
                }
                if a == "--event" {
                    f.events.push(b)
                } else {
                    f.events.extend(
                        b.split(|c| *c == b'\n')
                            .filter(|l| !l.trim_ascii().is_empty())
                            .map(|l| l.to_vec()),
                    )
                }
            }
            "--cmd" if per_fn => f.cmd = split_cmd(&v),
            "--dir" if per_fn => f.dir = Some(v),
            "--handler" if per_fn => f.handler = v,
            _ => die(&format!(
                "unknown option {a}{}",
                if per_fn { "" } else { " (before the first --fn)" }
            )),
        }
    }
    if o.funs.is_empty() {
        die("no --fn")
    }
    for f in &o.funs {
        if f.cmd.is_empty() {
            die(&format!("{}: no --cmd", f.name))
        }
        if f.events.is_empty() {
            die(&format!("{}: no --event or --jsonl", f.name))
        }
    }
    o
}

// ---------------------------------------------------------------- events
static SEQ: AtomicU64 = AtomicU64::new(1);
fn rnd() -> u64 {
    // splitmix64 over a clock-seeded counter: unique enough for ids
    static S: AtomicU64 = AtomicU64::new(0);
    if S.load(Ordering::Relaxed) == 0 {
        S.store(
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
            Ordering::Relaxed,
        )
    }
    let mut z = S.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
fn uuid() -> String {
    let (a, b) = (rnd(), rnd());
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        (b >> 52) & 0xfff,
        b & 0xffff_ffff_ffff
    )
}
fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}
fn fill(ev: &[u8]) -> Vec<u8> {
    if !ev.windows(2).any(|w| w == b"{{") {
        return ev.to_vec();
    }
    let Ok(s) = std::str::from_utf8(ev) else { return ev.to_vec() };
    let (mut out, mut rest) = (String::with_capacity(s.len() + 32), s);
    while let Some(i) = rest.find("{{") {
        out.push_str(&rest[..i]);
        let t = &rest[i..];
        let sub = [("{{n}}", 0), ("{{rand}}", 1), ("{{uuid}}", 2), ("{{now_ms}}", 3)]
            .into_iter()
            .find(|(p, _)| t.starts_with(p));
        match sub {
            Some((p, 0)) => {
                let _ = write!(out, "{}", SEQ.fetch_add(1, Ordering::Relaxed));
                rest = &t[p.len()..]
            }
            Some((p, 1)) => {
                let _ = write!(out, "{:016x}", rnd());
                rest = &t[p.len()..]
            }
            Some((p, 2)) => {
                out.push_str(&uuid());
                rest = &t[p.len()..]
            }
            Some((p, _)) => {
                let _ = write!(out, "{}", now_ms());
                rest = &t[p.len()..]
            }
            None => {
                out.push_str("{{");
                rest = &t[2..]
            }
        }
    }
    out.push_str(rest);
    out.into_bytes()
}

// ---------------------------------------------------------------- runtime API server
struct Inv {
    body: Vec<u8>,
    id: String,
    sent: Option<Instant>,
    done: Option<Instant>,
    ok: bool,
    resp: Vec<u8>,
}
struct State {
    pid: u32,
    inv: Vec<Inv>,
    next: usize,
    first_next: Option<Instant>,
    cpu_init: u64,
    cpu_first: u64,
    init_error: Option<String>,
    finished: bool,
    progress: Instant,
}
struct Shared {
    st: Mutex<State>,
    cv: Condvar,
    stop: AtomicBool,
    deadline_ms: u64,
    pause: u64,
}

struct Req {
    method: String,
    path: String,
    body: Vec<u8>,
    close: bool,
}
fn read_req(r: &mut BufReader<TcpStream>, w: &mut TcpStream) -> std::io::Result<Option<Req>> {
    let mut line = String::new();
    if r.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut p = line.split_whitespace();
    let (method, path) = (p.next().unwrap_or("").to_string(), p.next().unwrap_or("").to_string());
    let (mut len, mut chunked, mut close, mut expect) = (0usize, false, false, false);
    loop {
        line.clear();
        if r.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let l = line.trim_end();
        if l.is_empty() {
            break;
        }
        let Some((k, v)) = l.split_once(':') else { continue };
        let v = v.trim().to_ascii_lowercase();
        match k.to_ascii_lowercase().as_str() {
            "content-length" => len = v.parse().unwrap_or(0),
            "transfer-encoding" => chunked = v.contains("chunked"),
            "connection" => close = v == "close",
            "expect" => expect = v.contains("100-continue"),
            _ => {}
        }
    }
    if expect {
        w.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            line.clear();
            if r.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let n = usize::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16)
                .map_err(|_| std::io::Error::other("bad chunk size"))?;
            if n == 0 {
                loop {
                    line.clear();
                    if r.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                        break;
                    }
                }
                break;
            } // trailers
            let at = body.len();
            body.resize(at + n, 0);
            r.read_exact(&mut body[at..])?;
            let mut crlf = [0; 2];
            r.read_exact(&mut crlf)?;
        }
    } else {
        body.resize(len, 0);
        r.read_exact(&mut body)?
    }
    Ok(Some(Req { method, path, body, close }))
}
fn reply(w: &mut TcpStream, code: &str, extra: &str, body: &[u8]) -> std::io::Result<()> {
    let mut m = format!(
        "HTTP/1.1 {code}\r\nContent-Type: application/json\r\n{extra}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    m.extend_from_slice(body);
    w.write_all(&m)
}
fn park(sh: &Shared) {
    // the runtime idles in GET /next until it is killed
    let mut st = sh.st.lock().unwrap();
    while !sh.stop.load(Ordering::Relaxed) {
        st = sh.cv.wait_timeout(st, Duration::from_millis(200)).unwrap().0
    }
}
fn serve(sock: TcpStream, sh: Arc<Shared>) -> std::io::Result<()> {
    sock.set_nodelay(true)?;
    let mut w = sock.try_clone()?;
    let mut r = BufReader::with_capacity(64 << 10, sock);
    while let Some(q) = read_req(&mut r, &mut w)? {
        let t = Instant::now();
        let path = q.path.split('?').next().unwrap_or("").to_string();
        if q.method == "GET" && path.ends_with("/runtime/invocation/next") {
            let mut st = sh.st.lock().unwrap();
            st.progress = t;
            if st.first_next.is_none() {
                st.first_next = Some(t);
                st.cpu_init = cpu_ns(st.pid)
            }
            if st.next >= st.inv.len() {
                st.finished = true;
                sh.cv.notify_all();
                drop(st);
                park(&sh);
                return Ok(());
            }
            if st.next == 1 && sh.pause > 0 {
                drop(st);
                std::thread::sleep(Duration::from_millis(sh.pause));
                st = sh.st.lock().unwrap();
            }
            let i = st.next;
            st.next += 1;
            let body = std::mem::take(&mut st.inv[i].body);
            let hdr = format!("Lambda-Runtime-Aws-Request-Id: {0}\r\nLambda-Runtime-Deadline-Ms: {1}\r\nLambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:bench\r\nLambda-Runtime-Trace-Id: Root=1-{2:08x}-{3:012x}{2:012x};Parent={2:016x};Sampled=0\r\n",
                st.inv[i].id, now_ms() + sh.deadline_ms as u128, i + 1, rnd() & 0xffff_ffff_ffff);
            let mut m = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{hdr}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
            m.extend_from_slice(&body);
            st.inv[i].sent = Some(Instant::now());
            drop(st);
            w.write_all(&m)?;
        } else if q.method == "POST" && path.contains("/runtime/invocation/") {
            let mut st = sh.st.lock().unwrap();
            st.progress = t;
            let ok = path.ends_with("/response");
            if let Some(i) = st
                .inv
                .iter()
                .position(|x| x.done.is_none() && x.sent.is_some() && path.contains(x.id.as_str()))
            {
                let x = &mut st.inv[i];
                x.done = Some(t);
                x.ok = ok;
                x.resp = q.body;
                if i == 0 {
                    st.cpu_first = cpu_ns(st.pid)
                }
            }
            drop(st);
            reply(&mut w, "202 Accepted", "", b"{\"status\":\"OK\"}\n")?;
        } else if q.method == "POST" && path.ends_with("/runtime/init/error") {
            sh.st.lock().unwrap().init_error = Some(String::from_utf8_lossy(&q.body).into_owned());
            sh.cv.notify_all();
            reply(&mut w, "202 Accepted", "", b"{\"status\":\"OK\"}\n")?;
        } else if path.ends_with("/extension/register") {
            reply(&mut w, "200 OK", &format!("Lambda-Extension-Identifier: {}\r\n", uuid()), b"{\"functionName\":\"bench\",\"functionVersion\":\"$LATEST\",\"handler\":\"bootstrap\"}")?;
        } else if path.ends_with("/extension/event/next") {
            park(&sh);
            return Ok(());
        } else if path.contains("/telemetry") || path.contains("/logs") {
            reply(&mut w, "200 OK", "", b"\"OK\"")?;
        } else {
            reply(&mut w, "404 Not Found", "", b"{}")?;
        }
        if q.close {
            break;
        }
    }
    Ok(())
}

// ---------------------------------------------------------------- one process start
#[derive(Default, Clone)]
struct Sample {
    init: f64,
    first: f64,
    warm: Vec<f64>,
    rss_mb: f64,
    log_bytes: f64,
    cpu_init: f64,
    cpu_first: f64,
    cpu_warm: f64,
    loop_ms: f64,
    bad: usize,
    note: String,
    resp: String,
}
fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

fn run_once(o: &Opts, f: &Fun, round: usize) -> Sample {
    let n = 1 + o.warms;
    let skip = if o.advance { round * n } else { 0 };
    let lis = TcpListener::bind("127.0.0.1:0").expect("bind");
    let addr = lis.local_addr().unwrap();
    let inv = (0..n)
        .map(|i| Inv {
            body: fill(&f.events[(skip + i) % f.events.len()]),
            id: uuid(),
            sent: None,
            done: None,
            ok: false,
            resp: vec![],
        })
        .collect();
    let sh = Arc::new(Shared {
        st: Mutex::new(State {
            pid: 0,
            inv,
            next: 0,
            first_next: None,
            cpu_init: 0,
            cpu_first: 0,
            init_error: None,
            finished: false,
            progress: Instant::now(),
        }),
        cv: Condvar::new(),
        stop: AtomicBool::new(false),
        deadline_ms: o.timeout * 1000,
        pause: o.pause,
    });
    let acceptor = {
        let sh = sh.clone();
        std::thread::spawn(move || {
            for c in lis.incoming() {
                if sh.stop.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(c) = c {
                    let sh = sh.clone();
                    std::thread::spawn(move || {
                        let _ = serve(c, sh);
                    });
                }
            }
        })
    };
    let logp = std::env::temp_dir().join(format!("lambda-driver-{}.log", std::process::id()));
    let log = fs::File::create(&logp).expect("log file");
    // a program given by a relative path is meant from here, not from --dir (symlinks kept: a venv's python needs that)
    let prog = if f.cmd[0].contains('/') {
        std::path::absolute(&f.cmd[0]).unwrap_or_else(|_| f.cmd[0].clone().into())
    } else {
        f.cmd[0].clone().into()
    };
    let mut c = Command::new(&prog);
    c.args(&f.cmd[1..])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0);
    if !o.keep_env {
        c.env_clear();
        c.env("PATH", std::env::var("PATH").unwrap_or_default());
    }
    let root = f.dir.clone().unwrap_or_else(|| ".".into());
    c.current_dir(&root);
    let api = addr.to_string();
    for (k, v) in [
        ("AWS_LAMBDA_RUNTIME_API", api.as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", f.name.as_str()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", o.memory.as_str()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/bench"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("LAMBDA_TASK_ROOT", root.as_str()),
        ("LAMBDA_RUNTIME_DIR", root.as_str()),
        ("_HANDLER", f.handler.as_str()),
        ("TZ", ":UTC"),
        ("LANG", "C.UTF-8"),
    ] {
        c.env(k, v);
    }
    for (k, v) in &f.env {
        c.env(k, v);
    }

    // The state lock is held over the spawn, so that the server knows the pid before the first /next.
    let mut st = sh.st.lock().unwrap();
    let t0 = Instant::now();
    let mut child: Child = match c.spawn() {
        Ok(c) => c,
        Err(e) => {
            eprintln!("lambda-driver: {}: cannot start {}: {e}", f.name, f.cmd[0]);
            std::process::exit(2)
        }
    };
    let spawn = t0.elapsed();
    st.pid = child.id();
    st.progress = Instant::now();
    let mut note = String::new();
    let limit = Duration::from_secs(o.timeout) + Duration::from_millis(o.pause);
    while !st.finished {
        st = sh.cv.wait_timeout(st, Duration::from_millis(20)).unwrap().0;
        if let Some(e) = &st.init_error {
            note = format!("init error: {e}");
            break;
        }
        if let Ok(Some(s)) = child.try_wait() {
            note = format!("process ended: {:?} signal {:?}", s.code(), s.signal());
            break;
        }
        if st.progress.elapsed() > limit {
            note = format!("no progress for {limit:?} ({} of {n} delivered)", st.next);
            break;
        }
    }
    let (cpu_end, rss) = (cpu_ns(child.id()), hwm_kib(child.id()));
    sh.stop.store(true, Ordering::Relaxed);
    sh.cv.notify_all();
    unsafe { kill(-(child.id() as i32), 9) };
    let _ = child.wait();
    let nan = f64::NAN; // what a failed start could not measure is left out of the table
    let mut s = Sample {
        init: nan,
        first: nan,
        rss_mb: nan,
        log_bytes: nan,
        cpu_init: nan,
        cpu_first: nan,
        cpu_warm: nan,
        ..Default::default()
    };
    if let Some(t) = st.first_next {
        s.init = ms(t - t0);
        s.cpu_init = st.cpu_init as f64 / 1e6;
        s.rss_mb = rss as f64 / 1024.0
    }
    let want = f.expect.as_ref().map(|e| e.split_whitespace().collect::<String>());
    for (i, x) in st.inv.iter().enumerate() {
        let text = String::from_utf8_lossy(&x.resp);
        let good = x.ok
            && x.done.is_some()
            && want
                .as_ref()
                .is_none_or(|w| text.split_whitespace().collect::<String>().contains(w.as_str()));
        if !good {
            s.bad += 1;
            if note.is_empty() {
                note = format!(
                    "invocation {i}: {}",
                    if x.done.is_some() {
                        text.chars().take(300).collect::<String>()
                    } else {
                        "no response".into()
                    }
                )
            }
        }
        if let (Some(a), Some(b)) = (x.sent, x.done) {
            if i == 0 {
                s.first = ms(b - a);
                s.resp = text.chars().take(400).collect()
            } else {
                s.warm.push(ms(b - a))
            }
        }
    }
    if st.cpu_first > 0 {
        s.cpu_first = (st.cpu_first.saturating_sub(st.cpu_init)) as f64 / 1e6
    }
    if !s.warm.is_empty() {
        s.cpu_warm = cpu_end.saturating_sub(st.cpu_first) as f64 / 1e6 / s.warm.len() as f64
    }
    if let (Some(a), Some(b)) =
        (st.inv.get(1).and_then(|x| x.sent), st.inv.last().and_then(|x| x.done))
    {
        s.loop_ms = ms(b - a) / o.warms.max(1) as f64
    }
    drop(st);
    if !note.is_empty() {
        let l = fs::read_to_string(&logp).unwrap_or_default();
        let tail: Vec<&str> = l.lines().rev().take(8).collect();
        s.note = format!(
            "{note}\n      spawn {spawn:?}; log tail:\n{}",
            tail.iter().rev().map(|x| format!("      | {x}")).collect::<Vec<_>>().join("\n")
        );
    }
    s.log_bytes = fs::metadata(&logp).map_or(nan, |m| m.len() as f64 / n as f64);
    let _ = fs::remove_file(&logp);
    if let Ok(k) = TcpStream::connect(addr) {
        let _ = k.shutdown(Shutdown::Both);
    } // wake the acceptor
    let _ = acceptor.join();
    s
}

// ---------------------------------------------------------------- report
fn q(v: &[f64], p: f64) -> f64 {
    // nearest rank
    let mut v: Vec<f64> = v.iter().copied().filter(|x| !x.is_nan()).collect();
    if v.is_empty() {
        return f64::NAN;
    }
    v.sort_by(f64::total_cmp);
    v[((p * v.len() as f64).ceil() as usize).clamp(1, v.len()) - 1]
}
fn med(v: &[f64]) -> f64 {
    let mut v: Vec<f64> = v.iter().copied().filter(|x| !x.is_nan()).collect();
    if v.is_empty() {
        return f64::NAN;
    }
    v.sort_by(f64::total_cmp);
    let m = v.len() / 2;
    if v.len() % 2 == 1 {
        v[m]
    } else {
        (v[m - 1] + v[m]) / 2.0
    }
}
fn num(x: f64) -> String {
    if x.is_nan() {
        "-".into()
    } else if x >= 100.0 {
        format!("{x:.0}")
    } else if x >= 10.0 {
        format!("{x:.1}")
    } else if x >= 1.0 {
        format!("{x:.2}")
    } else {
        format!("{x:.3}")
    }
}
fn table(rows: &[Vec<String>]) {
    let w: Vec<usize> = (0..rows[0].len())
        .map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap())
        .collect();
    for (k, r) in rows.iter().enumerate() {
        let l: Vec<String> = r
            .iter()
            .enumerate()
            .map(|(i, c)| if i == 0 { format!("{c:<0$}", w[i]) } else { format!("{c:>0$}", w[i]) })
            .collect();
        println!("| {} |", l.join(" | "));
        if k == 0 {
            println!(
                "|{}|",
                w.iter()
                    .enumerate()
                    .map(|(i, n)| format!(
                        "{}{}",
                        "-".repeat(n + 1),
                        if i == 0 { "-" } else { ":" }
                    ))
                    .collect::<Vec<_>>()
                    .join("|")
            )
        }
    }
}
fn main() {
    let o = parse();
    let mut res: Vec<Vec<Sample>> = vec![vec![]; o.funs.len()];
    for round in 0..o.discard + o.colds {
        let mut order: Vec<usize> = (0..o.funs.len()).collect();
        if round % 2 == 1 {
            order.reverse()
        }
        for i in order {
            let s = run_once(&o, &o.funs[i], round);
            if round == 0 && o.show {
                println!("{}: first response: {}", o.funs[i].name, s.resp)
            }
            if !s.note.is_empty() && res[i].iter().filter(|x| !x.note.is_empty()).count() < 2 {
                eprintln!("!! {} start {}: {}", o.funs[i].name, round, s.note)
            }
            if round >= o.discard || !s.note.is_empty() {
                res[i].push(s)
            }
        }
    }
    type Get = fn(&Sample) -> f64;
    let metric = |i: usize, g: Get| -> Vec<f64> { res[i].iter().map(g).collect() };
    let warm = |i: usize| -> Vec<f64> { res[i].iter().flat_map(|s| s.warm.clone()).collect() };
    println!("\n{} starts x (1 first + {} warm) invocations per function; times in ms; memory setting {} MB", o.colds, o.warms, o.memory);
    let mut rows = vec!["function,bad,init min,init p50,first min,first p50,cold min,cold p50,cold p90,warm min,warm p50,warm p90,warm p99,warm max,RSS MB,cpu init,cpu first,cpu/warm".split(',').map(String::from).collect::<Vec<_>>()];
    let mut keys: Vec<HashMap<&str, f64>> = vec![];
    for i in 0..o.funs.len() {
        let (init, w) = (metric(i, |s| s.init), warm(i));
        let bad: usize = res[i].iter().map(|s| s.bad).sum();
        let (first, cold) = (metric(i, |s| s.first), metric(i, |s| s.init + s.first));
        let k = HashMap::from([
            ("init p50", med(&init)),
            ("first p50", med(&first)),
            ("cold p50", med(&cold)),
            ("cold min", q(&cold, 0.0)),
            ("warm p50", q(&w, 0.5)),
            ("warm p99", q(&w, 0.99)),
            ("RSS", med(&metric(i, |s| s.rss_mb))),
            ("cpu cold", med(&metric(i, |s| s.cpu_init + s.cpu_first))),
            ("cpu/warm", med(&metric(i, |s| s.cpu_warm))),
        ]);
        rows.push(vec![
            o.funs[i].name.clone(),
            bad.to_string(),
            num(q(&init, 0.0)),
            num(k["init p50"]),
            num(q(&first, 0.0)),
            num(k["first p50"]),
            num(k["cold min"]),
            num(k["cold p50"]),
            num(q(&cold, 0.9)),
            num(q(&w, 0.0)),
            num(k["warm p50"]),
            num(q(&w, 0.9)),
            num(k["warm p99"]),
            num(q(&w, 1.0)),
            num(k["RSS"]),
            num(med(&metric(i, |s| s.cpu_init))),
            num(med(&metric(i, |s| s.cpu_first))),
            num(k["cpu/warm"]),
        ]);
        keys.push(k);
    }
    table(&rows);
    if o.funs.len() > 1 {
        println!("\nratio to {} (below 1.00 = less than it; 'faster cold' = rounds in which its cold start was the shorter)", o.funs[0].name);
        let cols = [
            "init p50",
            "first p50",
            "cold min",
            "cold p50",
            "warm p50",
            "warm p99",
            "RSS",
            "cpu cold",
            "cpu/warm",
        ];
        let mut rows = vec![std::iter::once("function".to_string())
            .chain(cols.iter().map(|c| c.to_string()))
            .chain(["faster cold".to_string()])
            .collect::<Vec<_>>()];
        for i in 1..o.funs.len() {
            let wins = res[i]
                .iter()
                .zip(&res[0])
                .filter(|(b, a)| b.init + b.first < a.init + a.first)
                .count();
            rows.push(
                std::iter::once(o.funs[i].name.clone())
                    .chain(cols.iter().map(|c| format!("{:.2}", keys[i][c] / keys[0][c])))
                    .chain([format!("{wins}/{}", res[i].len().min(res[0].len()))])
                    .collect(),
            );
        }
        table(&rows);
    }
    if let Some(p) = &o.json {
        // Whole nanoseconds, so that nobody who reads them needs a float.
        let whole = |x: f64| if x.is_nan() { "null".to_string() } else { format!("{x:.0}") };
        let j = |x: f64| whole(x * 1e6);
        let list = |v: &[f64]| {
            v.iter().filter(|x| !x.is_nan()).map(|x| whole(*x * 1e6)).collect::<Vec<_>>().join(",")
        };
        let mut out = String::from("{\n");
        for (i, f) in o.funs.iter().enumerate() {
            let _ = writeln!(out, " {:?}: [{}]{}", f.name, res[i].iter().map(|s| format!("{{\"init\":{},\"first\":{},\"rss_kib\":{},\"log_bytes\":{},\"cpu_init\":{},\"cpu_first\":{},\"cpu_warm\":{},\"cycle\":{},\"bad\":{},\"warm\":[{}]}}", j(s.init), j(s.first), whole(s.rss_mb * 1024.0), whole(s.log_bytes), j(s.cpu_init), j(s.cpu_first), j(s.cpu_warm), j(s.loop_ms), s.bad, list(&s.warm))).collect::<Vec<_>>().join(",\n  "), if i + 1 < o.funs.len() { "," } else { "" });
        }
        out.push_str("}\n");
        fs::write(p, out).unwrap_or_else(|e| eprintln!("{p}: {e}"));
    }
    let bad: usize = res.iter().flatten().map(|s| s.bad + usize::from(!s.note.is_empty())).sum();
    std::process::exit(i32::from(bad > 0))
}
