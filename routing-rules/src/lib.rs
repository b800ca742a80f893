//! SQL text and facts in, a route and its reasons out.
