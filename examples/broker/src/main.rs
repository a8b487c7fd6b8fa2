//! An MQTT broker in one process: `mqtls` decides who comes in and which certificate is shown,
//! `mqtt5` speaks MQTT with whom it let in, and an operator changes both on standard input.
//!
//! ```text
//! TCP ── mqtls::Acceptor ── Connection { instance, device } ── mqtt::Service ── topics
//!              ▲                  ▲                             one each instance
//!              └──── Console ─────┘ SetSniConfig · InactivateCaCertificate · …
//! ```
//!
//! Two instances share the port. The server name that a client asks for finds the instance; from then
//! on everything is that instance's own: certificates, CAs, operations, topics, client identifiers.
//!
//! A connection ends by itself when what let it in ends. The broker does nothing for that but leave
//! the MQTT 5 packet with which its client is told.

mod arguments;
mod console;
mod door;
mod events;
mod greeting;
mod mqtt;
mod pki;
mod schemes;
mod serve;
mod tour;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use mqtls::Events;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};
use tracing_subscriber::EnvFilter;

use arguments::Arguments;
use console::Console;
use door::Door;
use pki::Pki;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    let ended = if arguments.tour {
        tour::walk(arguments.dir, io::stdout()).await
    } else {
        run(&arguments).await
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line with all causes; whether it can be written changes nothing any more.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until Ctrl-C or SIGTERM.
async fn run(arguments: &Arguments) -> Result<()> {
    let dir = arguments.dir_or_default();
    let (pki, door) = spawn_blocking(move || -> Result<_> {
        let pki = Pki::open_or_make(&dir)?;
        let door = Door::open(&pki)?;
        Ok((pki, door))
    })
    .await??;
    // Certificates that are replaced in their folder are served from then on.
    let _watch = door.instances.watch()?;
    let stop = stop_signal()?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    if let Err(error) = greeting::greet(&mut io::stdout(), listener.local_addr()?, &pki, &door) {
        tracing::warn!(%error, "nobody reads standard output");
    }
    let mut attendants = JoinSet::new();
    attendants.spawn(operate(Console::new(door.instances.clone())));
    if arguments.events {
        // From before the first connection is accepted.
        attendants.spawn(watch(door.instances.events()));
    }
    serve::serve(listener, &door, stop).await;
    attendants.abort_all();
    Ok(())
}

/// Runs the console on standard input. Its end is not the broker's.
async fn operate(console: Console) {
    if let Err(error) = console.run(io::BufReader::new(io::stdin())).await {
        tracing::warn!(%error, "the console is closed");
    }
}

/// Tells what happens on standard output.
async fn watch(events: Events) {
    if let Err(error) = events::tell(events).await {
        tracing::warn!(%error, "events are not told");
    }
}

/// Ready when the process is asked to end. Listens from now on, not from its first poll.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ready when the process is asked to end.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "Ctrl-C is not heard");
            std::future::pending::<()>().await;
        }
    })
}

/// Logs what `RUST_LOG` asks for, by default from `info` up.
///
/// `mqtt5` is silent unless `RUST_LOG` names it: it writes client identifiers and topics as they
/// came, at `info` and `warn`, so any client could write into the log.
fn log_to_stderr() {
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let asked = if asked.is_empty() { "info".to_owned() } else { asked };
    let quiet = if asked.contains("mqtt5") { "" } else { ",mqtt5=off" };
    let filter = EnvFilter::builder().parse_lossy(format!("{asked}{quiet}"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
