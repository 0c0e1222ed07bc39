//! The Posthaste client.
