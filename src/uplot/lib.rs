//! uPlot 1.6.32 (MIT, see `LICENSE`): the chart library that the pages of unstick embed, so that nothing is
//! fetched when somebody looks at them.

/// The script: it defines `uPlot`.
pub const SCRIPT: &str = include_str!("uplot-1.6.32.min.js");

/// The style that the script relies on.
pub const STYLE: &str = include_str!("uplot-1.6.32.min.css");
