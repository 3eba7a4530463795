//! Figures: what an image costs beside `tar -x` of the same files. `cargo test --release -p hv-images figures -- --ignored
//! --nocapture` prints them.
