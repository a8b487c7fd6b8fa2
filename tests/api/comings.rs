//! Devices that come in every way that there is, and talk, for the tests of random changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use crate::line::{Line, ended};
use crate::pace::Pace;
use crate::support::{
    Dice, Door, Examinations, HeldHandshake, Identity, NOW, PlainHandshake, VERSIONS, client,
    in_small_records,
};
use crate::timeline::{Attempt, Ticks};

/// A door, and those who come there.
pub(crate) struct Comings {
    pub(crate) door: Door,
    pub(crate) ticks: Ticks,
    pub(crate) pace: Pace,
    /// How many devices were admitted by a ticket.
    pub(crate) resumed: AtomicUsize,
}

/// In which ways a device may come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// The verifier alone is asked.
    Verifier,
    /// Through `Acceptor`.
    Acceptor,
    /// Through an accept loop of the embedder's own, with `admit` behind it.
    OwnLoop,
    /// The same in steps, as a client that comes again and again and offers its tickets.
    Again,
}

impl Comings {
    /// To a door, from so many threads.
    pub(crate) fn to(door: Door, threads: usize) -> Self {
        let (ticks, resumed) = Default::default();
        Self { door, ticks, pace: Pace::of(threads), resumed }
    }

    /// One device comes in one way.
    pub(crate) fn come(
        &self,
        runtime: &Runtime,
        dice: &mut Dice,
        device: &Identity,
        regulars: &[Arc<ClientConfig>],
    ) -> (Way, Attempt) {
        let ways = [Way::Verifier, Way::Acceptor, Way::OwnLoop, Way::Again, Way::Again];
        let way = *dice.pick(&ways);
        let version = *dice.pick(&VERSIONS);
        let attempt = match way {
            Way::Verifier => self.ask_the_verifier(device),
            Way::Acceptor => self.knock(runtime, client(Some(device), version), dice.roll(2) == 0),
            Way::OwnLoop => self.come_to_an_own_loop(client(Some(device), version)),
            Way::Again => self.come_again(dice.pick(regulars)),
        };
        (way, attempt)
    }

    fn ask_the_verifier(&self, device: &Identity) -> Attempt {
        let (end_entity, intermediates) = device.chain.split_first().unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        let began = self.ticks.tick();
        let verifier = self.door.instance.verifier();
        let admitted = verifier.verify_client_cert(end_entity, intermediates, now).is_ok();
        Attempt { began, captured: began, judged: began, ended: self.ticks.tick(), admitted }
    }

    /// With a pause behind the verification, so that the gate has something to find.
    fn knock(&self, runtime: &Runtime, config: ClientConfig, pause: bool) -> Attempt {
        runtime.block_on(async {
            let examinations = Examinations::watch();
            let began = self.ticks.tick();
            let (mut held, mut answer) =
                HeldHandshake::up_to_the_certificate(&self.door, in_small_records(config)).await;
            let captured = self.ticks.tick();
            let last = answer.pop_back();
            held.pass([answer.into_iter().flatten().collect()]).await;
            examinations.next().await;
            if pause {
                self.let_others_go_first();
            }
            let judged = self.ticks.tick();
            let admitted = held.release_with(last).await.server.is_ok();
            Attempt { began, captured, judged, ended: self.ticks.tick(), admitted }
        })
    }

    /// Until another device has come, or a while has gone by.
    fn let_others_go_first(&self) {
        let before = self.pace.steps();
        for _ in 0..10_000 {
            if self.pace.steps() > before + 1 {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn come_to_an_own_loop(&self, config: ClientConfig) -> Attempt {
        let began = self.ticks.tick();
        let server = self.door.instance.server_config();
        let mut handshake = PlainHandshake::between(server, Arc::new(config));
        let finished = handshake.finish().is_ok();
        let judged = self.ticks.tick();
        let admitted = finished && self.door.instance.admit(&handshake.server).is_ok();
        Attempt { began, captured: judged, judged, ended: self.ticks.tick(), admitted }
    }

    fn come_again(&self, config: &Arc<ClientConfig>) -> Attempt {
        let began = self.ticks.tick();
        let mut context = self.door.instance.handshake().unwrap();
        let captured = self.ticks.tick();
        let server = context.config();
        let (shaken, server) = context.step(|| {
            let mut handshake = PlainHandshake::between(server, Arc::clone(config));
            (handshake.finish().is_ok(), handshake.server)
        });
        let judged = self.ticks.tick();
        let admitted = shaken && context.admit(&server).is_ok();
        if admitted && server.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.resumed.fetch_add(1, Ordering::SeqCst);
        }
        Attempt { began, captured, judged, ended: self.ticks.tick(), admitted }
    }

    /// A device comes in, is shown, talks for so long, and goes; or how it was refused.
    pub(crate) fn live(
        &self,
        runtime: &Runtime,
        config: ClientConfig,
        talks: usize,
        show: impl FnOnce(&Line),
    ) -> Result<Life, Attempt> {
        let began = self.ticks.tick();
        let line = runtime.block_on(Line::tried(&self.door, config));
        let ended_at = self.ticks.tick();
        self.pace.step();
        let Ok(mut line) = line else {
            let (captured, ended) = (ended_at, ended_at);
            return Err(Attempt { began, captured, judged: began, ended, admitted: false });
        };
        let mut life = Life { began, admitted: ended_at, last_exchange: 0, ended: None };
        show(&line);
        for _ in 0..talks {
            let tick = self.ticks.tick();
            let talked = runtime.block_on(async {
                line.server.write_all(b"publish").await?;
                line.server.flush().await?;
                line.client.read_exact(&mut [0; 7]).await
            });
            self.pace.step();
            match talked {
                Ok(_) => life.last_exchange = tick,
                Err(error) => {
                    drop(ended(error));
                    life.ended = Some(self.ticks.tick());
                    break;
                }
            }
        }
        Ok(life)
    }
}

/// A connection from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) began: u64,
    pub(crate) admitted: u64,
    /// Before the last exchange that went well.
    pub(crate) last_exchange: u64,
    /// Behind the first failure.
    pub(crate) ended: Option<u64>,
}

impl Life {
    /// How it came in.
    pub(crate) fn attempt(&self) -> Attempt {
        let Self { began, admitted: ended, .. } = *self;
        Attempt { began, captured: ended, judged: began, ended, admitted: true }
    }
}

/// What a thread of devices runs them on.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Clients with this device's certificate that keep their tickets.
pub(crate) fn regulars(device: &Identity) -> Vec<Arc<ClientConfig>> {
    VERSIONS.iter().map(|version| Arc::new(client(Some(device), version))).collect()
}
