//! `isal export triton`, `kserve`, `bundle` and `influence --with-preprocessing`, as a serving stack meets their files.

mod bundle;
#[path = "../export/place.rs"]
#[allow(dead_code, reason = "shared with the tests of `export influence`")]
mod place;
mod preprocessing;
mod python;
mod text_format;
mod triton;
