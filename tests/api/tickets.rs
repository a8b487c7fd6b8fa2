//! What a ticket is worth, and until when.

use mqtls::CaStatus::Active;
use rustls::HandshakeKind::{Full, Resumed};

use crate::support::{Door, TestCa, VERSIONS, client};
use crate::ticket_tools::{Declines, come};

#[tokio::test]
async fn r01_a_device_that_comes_back_is_resumed_as_the_same_device() {
    for version in VERSIONS {
        let door = Door::open();
        let ca = TestCa::root("fleet");
        door.register(&ca, Active).unwrap();
        let client = client(Some(&ca.device("device")), version);
        let mut declines = Declines::watch();
        let (kind, first) = come(&door, &client).await;
        assert_eq!(kind, Full);
        for _ in 0..3 {
            let (kind, again) = come(&door, &client).await;
            assert_eq!(kind, Resumed);
            assert_eq!(format!("{:?}", again.device()), format!("{:?}", first.device()));
        }
        assert!(declines.take().is_empty());
    }
}
