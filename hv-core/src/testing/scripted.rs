//! A backend whose cores follow a script.
