//! The ACPI fixed hardware: PM1 event and control blocks, PM timer, reset register (ACPI 6.5, 4.8).
