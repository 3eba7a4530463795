//! What a guest's network cable leads to: [`hv_core::net::NetBackend`] in its forms.

pub mod user;
