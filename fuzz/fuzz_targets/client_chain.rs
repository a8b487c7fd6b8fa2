#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _believed = mqtls_fuzz::client_chain::run(data);
});
