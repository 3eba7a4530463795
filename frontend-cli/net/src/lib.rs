//! What a guest's network cable leads to: [`hv_core::net::NetBackend`] in its forms.

#[doc(hidden)]
pub mod fuzzing;
pub mod user;
