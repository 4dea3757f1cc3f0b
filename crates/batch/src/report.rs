//! The HTML report of a ledger.
