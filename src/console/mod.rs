//! HTTP: health and metrics for the operator.
