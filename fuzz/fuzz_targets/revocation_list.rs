#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    mqtls_fuzz::revocation_list::run(data);
});
