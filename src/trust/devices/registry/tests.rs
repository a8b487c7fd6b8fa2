//! What holds of the tables together, here and in the models of concurrency, and of very many records.

use std::sync::atomic::AtomicBool;

use allocation_counter::measure;
use rustls_pki_types::CertificateDer;

use super::*;
use crate::certificate::CaCertificate;
use crate::trust::devices::RegisterDeviceError;
use crate::trust::live::LivePolicy;

#[test]
fn l04_thousands_of_records_are_listed_changed_and_forgotten() {
    Fleets::of(3_000, 2_500).go_through_everything();
}

/// Takes some minutes without optimisation.
#[test]
#[ignore = "for when the tables change"]
fn l04_a_million_records_are_listed_changed_and_forgotten() {
    Fleets::of(900_000, 100_000).go_through_everything();
}

#[test]
fn l04_records_that_are_gone_give_their_memory_back() {
    // What is made once for the process is made here.
    drop(Fleets::of(1, 1));
    let mut emptied = None;
    let allocated = measure(|| {
        let fleets = Fleets::of(1_500, 1_500);
        assert_eq!(fleets.devices.forget(&fleets.one, None).0.records, 1_500);
        assert_eq!(fleets.devices.forget(&fleets.two, None).0.records, 1_500);
        fleets.devices.assert_agrees(&[]);
        emptied = Some(fleets);
    });
    // The tables keep room for those who come next.
    let (kept, most) = (allocated.bytes_current, i64::try_from(allocated.bytes_max).unwrap());
    assert!(most > 3_000 * 600 && kept < most / 4, "{kept} of {most}");
    assert_eq!(kept + measure(|| drop(emptied)).bytes_current, 0);
}

/// Whoever deletes a CA changes its word, takes it out, and only then takes out what is on record under
/// it: what was put there behind that would stay for ever.
#[test]
fn nothing_is_recorded_under_a_ca_that_is_deleted_meanwhile() {
    let fleets = Fleets::of(0, 0);
    let one = &fleets.one;
    let new = device(one, 0);
    let error = fleets.devices.register(&new, one, DeviceStatus::Active, || false).unwrap_err();
    let serial = one.certificate().serial().clone();
    assert_eq!(error, RegisterDeviceError::CaDeleted(serial.clone()));

    let seen = SeenRecord { authority: Arc::clone(one), word: one.word() };
    let standing = fleets.devices.standing(&new, one, Moment::now()).unwrap();
    let DeviceStanding::New { order, word, moment } = standing else { panic!("{standing:?}") };
    one.set_status(CaStatus::Inactive);
    let refusal = fleets.devices.record(&new, &seen, (order, word, moment)).unwrap_err();
    assert_eq!(refusal, Refusal::ChangedMeanwhile(serial));
    fleets.devices.assert_agrees(&[]);
}

/// A thousand records are looked at each time, and some of them stay.
#[test]
fn expired_devices_are_found_behind_a_thousand_that_stay_and_before_them_again() {
    let live = Arc::new(LiveIndex::new(LivePolicy::default()));
    let limits = DeviceLimits { max_devices: 0, ..DeviceLimits::default() };
    let Fleets { one, .. } = Fleets::of(0, 0);
    let devices = DeviceRegistry::new(limits, live);
    let activate = |at| {
        let serial = device(&one, at).serial().clone();
        devices.set_status(&one, &serial, DeviceStatus::Active).unwrap();
    };
    for at in 0..1_500 {
        devices.register(&device(&one, at), &one, DeviceStatus::Inactive, || true).unwrap();
    }
    (1_000..1_500).for_each(activate);
    let late = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    assert_eq!((devices.forget_expired(late), devices.forget_expired(late)), (0, 500));
    (0..1_000).for_each(activate);
    assert_eq!((devices.forget_expired(late), devices.len()), (1_000, 0));
}

/// Two CAs with devices on record.
struct Fleets {
    devices: DeviceRegistry,
    one: Arc<Authority>,
    two: Arc<Authority>,
}

impl Fleets {
    fn of(under_one: u32, under_two: u32) -> Self {
        let live = Arc::new(LiveIndex::new(LivePolicy::default()));
        let devices = DeviceRegistry::new(DeviceLimits::default(), live);
        let ca = |order| {
            let certificate = CaCertificate::from_der(&CertificateDer::from(CERTIFICATE)).unwrap();
            Arc::new(Authority::new("fleet", certificate, CaStatus::Active, order))
        };
        let fleets = Self { devices, one: ca(1), two: ca(2) };
        fleets.record_all(&fleets.one, under_one);
        fleets.record_all(&fleets.two, under_two);
        fleets
    }

    fn record_all(&self, ca: &Arc<Authority>, count: u32) {
        for at in 0..count {
            self.devices.register(&device(ca, at), ca, DeviceStatus::Active, || true).unwrap();
        }
    }

    fn get(&self, ca: &Arc<Authority>, at: u32) -> Option<Arc<RecordedDevice>> {
        self.devices.get(ca, device(ca, at).serial())
    }

    /// How many are on record under the two, counted page by page.
    fn listed(&self) -> (usize, usize) {
        let (mut orders, mut after) = (vec![], None);
        loop {
            let page = self.devices.list(None, after, 1_000);
            assert!(page.devices.len() == 1_000 || page.next.is_none());
            orders.extend(page.devices.iter().map(|record| place(record)));
            after = page.next;
            if after.is_none() {
                assert!(orders.is_sorted_by(|one, next| one < next), "each once, in order");
                let of_one = orders.partition_point(|(ca, _)| *ca == self.one.order());
                return (of_one, orders.len() - of_one);
            }
        }
    }

    fn go_through_everything(&self) {
        let (under_one, under_two) = (self.one.devices(), self.two.devices());
        assert_eq!(self.listed(), (under_one, under_two));
        assert_eq!(self.devices.list(Some(&self.two), None, usize::MAX).devices.len(), under_two);
        let (of_one, of_two) = (self.ats(&self.one), self.ats(&self.two));
        let every = |many, of: u32| (0..of).step_by(many);
        for at in every(10, of_two) {
            let serial = device(&self.two, at).serial().clone();
            let change = self.devices.set_status(&self.two, &serial, DeviceStatus::Inactive);
            assert!(change.unwrap().changed);
        }
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| self.read_until(of_one, &is_over));
            let (forgotten, ended) = self.devices.forget(&self.two, None);
            assert_eq!((forgotten.records, ended), (under_two, 0));
            assert_eq!(forgotten.inactive, every(10, of_two).count());
            is_over.store(true, Ordering::SeqCst);
            assert!(reader.join().unwrap() > 0);
        });
        assert_eq!(self.listed(), (under_one, 0));
        assert!(self.get(&self.two, 1).is_none());
        for at in every(2, of_one) {
            let serial = device(&self.one, at).serial().clone();
            self.devices.delete(&self.one, &serial, None).unwrap();
        }
        let left = under_one - every(2, of_one).count();
        assert_eq!(self.listed(), (left, 0));
        self.devices.assert_agrees(&[Arc::clone(&self.one)]);
        assert_eq!(self.devices.forget(&self.one, None).0.records, left);
        assert_eq!((self.devices.len(), self.one.devices(), self.two.devices()), (0, 0, 0));
        self.devices.assert_agrees(&[]);
        assert!(self.devices.by_certificate.is_empty());
    }

    /// What handshakes and operators read of the first CA's devices meanwhile; tells how often.
    fn read_until(&self, of_one: u32, is_over: &AtomicBool) -> usize {
        let mut times = 0;
        while times == 0 || !is_over.load(Ordering::SeqCst) {
            for at in (0..of_one).step_by(97) {
                let device = device(&self.one, at);
                let standing = self.devices.standing(&device, &self.one, Moment::now());
                assert!(matches!(standing, Ok(DeviceStanding::Recorded(_))), "{standing:?}");
            }
            let page = self.devices.list(Some(&self.one), None, 1_000);
            assert_eq!(page.devices.len(), self.one.devices().min(1_000));
            times += 1;
        }
        times
    }

    fn ats(&self, ca: &Authority) -> u32 {
        u32::try_from(ca.devices()).unwrap()
    }
}

/// The certificate with a serial number of its own: nobody verifies it here.
fn device(ca: &Arc<Authority>, at: u32) -> Device {
    let mut certificate = CERTIFICATE.to_vec();
    let serial = SERIAL.start + 2..SERIAL.end;
    certificate[serial.start..serial.start + 8].copy_from_slice(&ca.order().to_be_bytes());
    certificate[serial.end - 4..serial.end].copy_from_slice(&at.to_be_bytes());
    Device::remembered(certificate.into(), ca)
}

const CERTIFICATE: &[u8] = include_bytes!("../../../../testdata/ca_without_key_id.der");
/// Where its serial number stands.
const SERIAL: std::ops::Range<usize> = 14..34;

impl DeviceRegistry {
    /// Asserts, while nobody changes anything, that every table has what the others have, and that
    /// all is on record under one of these CAs.
    pub(in crate::trust) fn assert_agrees(&self, authorities: &[Arc<Authority>]) {
        let records: Vec<_> = self.ledger().values().cloned().collect();
        assert_eq!(records.len(), self.len());
        let mut sheets: Vec<_> = records.iter().map(|record| Sheet::of(record.order())).collect();
        sheets.sort_unstable();
        sheets.dedup();
        assert_eq!((records.len(), sheets.len()), (self.by_pair.len(), self.by_order.len()));
        let mut kept_alike = 0;
        for record in &records {
            let is_it = |other: Option<Arc<RecordedDevice>>| {
                other.is_some_and(|other| Arc::ptr_eq(&other, record))
            };
            assert!(is_it(self.at(&Pair::of(record))) && is_it(self.recorded(record.order())));
            assert!(is_it(self.ledger().get(&place(record)).cloned()));
            let alike = self.alike(record.signed(), record.certificate());
            assert!(alike.iter().any(|other| Arc::ptr_eq(other, record)));
            assert_eq!(
                record.is_let_in(),
                alike.iter().all(|other| is_active(other)),
                "{record:?}"
            );
            kept_alike += usize::from(Arc::ptr_eq(&alike[0], record)) * alike.len();
            let mut known = authorities.iter();
            assert!(known.any(|known| Arc::ptr_eq(known, record.authority())), "outlives its CA");
        }
        assert_eq!(kept_alike, records.len(), "something is left under a certificate");
        for authority in authorities {
            let of_ca = records.iter().filter(|it| Arc::ptr_eq(it.authority(), authority));
            assert_eq!(authority.devices(), of_ca.count());
        }
    }
}
