//! The one integration binary.

mod demo; // `unstick demo` as a user sees it
