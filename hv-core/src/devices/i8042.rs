//! The part of the i8042 keyboard controller by which a PC is reset.
