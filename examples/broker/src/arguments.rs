//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// An MQTT broker behind mqtls: certificates by server name, devices by their status and their CA's,
/// both changed while it runs by the operations typed on its standard input.
///
/// A CA that is switched off ends what it let in, before the operation answers: live connections,
/// whose MQTT 5 clients are sent DISCONNECT, and the tickets with which sessions are resumed. The
/// same of a single device: each one that comes in is on record from then on.
///
/// Two instances share the port, each with CAs, certificates and topics of its own. A client that
/// asks for `second.localhost` or `*.second.example.test` comes to `mqtt-second`; any other, also
/// one that names no server, to `mqtt-demo`.
///
/// It makes the certificates that it needs on its first start and prints lines to paste into
/// another terminal. Its default certificate is for `localhost` and `127.0.0.1`. A server certificate
/// whose file is replaced is served a moment later; `certificates` and `explain` on the console say
/// what is served, and what a client is shown and why, `plan` what another `SetSniConfig` would do.
///
/// The console: one operation per line, `help` lists them, each answer is one line of JSON. With
/// `dry-run` in front, an operation that ends connections says how many and leaves them up. It is
/// about `mqtt-demo` unless it has `MqttInstanceId=mqtt-second` among its parameters. An end
/// of input closes the console only, so `broker < /dev/null &` runs in the background.
/// `RUST_LOG` sets what is logged on standard error.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// Where to listen for MQTT over TLS.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8883")]
    pub(crate) listen: SocketAddr,

    /// Where keys and certificates lie: made on the first start, used again afterwards.
    /// The tour uses a temporary directory where this is not given [default: mqtls-demo]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) dir: Option<PathBuf>,

    /// Tell what happens, beside the console's answers on standard output, one line of JSON each:
    /// devices that come for the first time, connections refused and why, connections ended, changes
    /// of CAs, devices, revocation lists and certificates. Each of these lines has an `Event`.
    #[arg(long, conflicts_with = "tour")]
    pub(crate) events: bool,

    /// Instead of serving: start a broker on a free loopback port, walk through what it does with
    /// a built-in client, print what that client observed, and fail if any of it differs.
    #[arg(long, conflicts_with = "listen")]
    pub(crate) tour: bool,
}

impl Arguments {
    /// The directory of a broker that serves.
    pub(crate) fn dir_or_default(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| PathBuf::from("mqtls-demo"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let arguments = Arguments::parse_from(["broker"]);
        assert_eq!(arguments.listen.to_string(), "127.0.0.1:8883");
        assert_eq!(arguments.dir_or_default(), PathBuf::from("mqtls-demo"));
        assert!(!arguments.tour && !arguments.events);
    }

    #[test]
    fn the_tour_tells_no_events() {
        assert!(Arguments::parse_from(["broker", "--events"]).events);
        assert!(Arguments::try_parse_from(["broker", "--events", "--tour"]).is_err());
    }
}
