//! Measures reads from the cache: calls a second, CPU and latency, each beside what they are held against in the same run.
//! Leaves what is read to `ground`, asking to `load`, and the bare server to `echo`.
//!
//! The machine drifts, so both sides take turns, A B B A, and what is told is the median of such fours' ratios with the least
//! and the greatest. `STEAD_BENCH` says how many calls a turn has, `STEAD_TURNS` how many fours there are.

mod echo;
mod ground;
mod load;
mod told;

use std::process::ExitCode;

use crate::{
    echo::Echo,
    ground::Ground,
    load::{Arm, Turn},
};

/// The local tier switched off.
const SHARED_ALONE: (&str, &str) = ("STEAD_CACHE_MEMORY", "0");

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Ok(runtime) = tokio::runtime::Runtime::new() else { return ExitCode::FAILURE };
    match words[..] {
        ["echo", port] => runtime.block_on(echo::serve(port)),
        ["local"] => runtime.block_on(local()),
        ["shared"] => runtime.block_on(shared()),
        ["sdk"] => runtime.block_on(sdk()),
        ["transport"] => runtime.block_on(transport()),
        // Whoever runs all benches of the workspace did not ask for one that takes minutes.
        _ => return ExitCode::SUCCESS,
    }
    ExitCode::SUCCESS
}

/// Every read from the server's own memory, beside a server that does nothing but answer.
async fn local() {
    let ground = Ground::new().await;
    let server = ground.server(&[]).await;
    let echo = Echo::start(&ground.typical).await;
    let server = Arm::new("stead, local tier", server.address, &ground, &[("server", server.running.pid())]).await;
    let echo = Arm::new("bare tonic", echo.address, &ground, &[("server", echo.running.pid())]).await;
    take_turns(&ground, &server, &echo).await;
}

/// Every read from Redis, beside the same from the server's own memory.
async fn shared() {
    let ground = Ground::new().await;
    let (shared, local) = (ground.server(&[SHARED_ALONE]).await, ground.server(&[]).await);
    let redis = ("redis", ground.redis.pid());
    let shared = Arm::new("stead, Redis", shared.address, &ground, &[("server", shared.running.pid()), redis]).await;
    let local = Arm::new("stead, local tier", local.address, &ground, &[("server", local.running.pid()), redis]).await;
    take_turns(&ground, &shared, &local).await;
}

/// The SDK, beside the client generated from the contract over the SDK's own connections, both against a bare server.
async fn sdk() {
    let ground = Ground::new().await;
    let echo = Echo::start(&ground.typical).await;
    let processes = [("server", echo.running.pid())];
    let sdk = Arm::sdk("SDK", false, echo.address, &ground, &processes);
    let generated = Arm::sdk("generated client", true, echo.address, &ground, &processes);
    take_turns(&ground, &sdk, &generated).await;
}

/// The SDK, beside the generated client over as many connections of tonic's own.
async fn transport() {
    let ground = Ground::new().await;
    let echo = Echo::start(&ground.typical).await;
    let processes = [("server", echo.running.pid())];
    let sdk = Arm::sdk("SDK", false, echo.address, &ground, &processes);
    let connections = std::thread::available_parallelism().map_or(1, usize::from);
    let tonic = Arm::over("generated, tonic's", connections, echo.address, &ground, &processes).await;
    take_turns(&ground, &sdk, &tonic).await;
}

async fn take_turns(ground: &Ground, a: &Arm, b: &Arm) {
    let (calls, fours) = (load::number("STEAD_BENCH", 60_000), load::number("STEAD_TURNS", 10));
    told::ground(ground, calls, fours);
    for arm in [a, b] {
        arm.turn(calls).await;
    }
    let mut all: Vec<[Turn; 4]> = vec![];
    for _ in 0..fours {
        let before = ground.asked().await;
        let first = a.turn(calls).await;
        let after = ground.asked().await;
        let four = [first.beside(before, after), b.turn(calls).await, b.turn(calls).await, a.turn(calls).await];
        all.push(four);
    }
    told::table(a, b, &all);
}
