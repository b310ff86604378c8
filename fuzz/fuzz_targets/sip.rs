#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| strowger_fuzz::sip::run(bytes));
