//! ACPI tables (ACPI 6.5) of an x86_64 machine.
