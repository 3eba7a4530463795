//! A PCI segment: functions, their configuration space, BARs and MSI-X.
