//! What holds of the tables together, here and in the models of concurrency.

use super::*;

impl DeviceRegistry {
    /// Asserts, while nobody changes anything, that every table has what the others have, and that
    /// all is on record under one of these CAs.
    pub(in crate::trust) fn assert_agrees(&self, authorities: &[Arc<Authority>]) {
        let records: Vec<_> = self.ledger().values().cloned().collect();
        assert_eq!(records.len(), self.len());
        assert_eq!((records.len(), records.len()), (self.by_pair.len(), self.by_order.len()));
        let mut kept_alike = 0;
        for record in &records {
            let is_it = |other: Option<Arc<RecordedDevice>>| {
                other.is_some_and(|other| Arc::ptr_eq(&other, record))
            };
            assert!(is_it(self.at(&Pair::of(record))) && is_it(self.recorded(record.order())));
            assert!(is_it(self.ledger().get(&place(record)).cloned()));
            let alike = self.alike(record.certificate());
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
