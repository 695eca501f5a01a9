//! One module for each figure.

pub(crate) mod report_to_frame;
