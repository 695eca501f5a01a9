//! Flags of the web service.

use std::path::PathBuf;

use glance_runner::{CommonOptions, http::HttpOptions};

use crate::{OriginRule, cors::Origins};

/// Flags of the program `glance-web`.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "glance-web",
    version,
    about = "Serves the page, the feed and the JSON to viewers"
)]
pub struct Options {
    /// Flags that all services share.
    #[command(flatten)]
    pub common: CommonOptions,

    /// The address to listen on.
    #[arg(
        long,
        env = "GLANCE_HOST",
        value_name = "ADDRESS",
        default_value = "0.0.0.0"
    )]
    pub host: String,

    /// The port to listen on.
    #[arg(long, env = "GLANCE_PORT", value_name = "PORT", default_value_t = 3000)]
    pub port: u16,

    /// Write the finished page to this folder, for a host that only serves files, and end.
    #[arg(long, value_name = "FOLDER")]
    pub export_page: Option<PathBuf>,

    /// Flags of the listener.
    #[command(flatten)]
    pub http: HttpOptions,

    /// Flags of this service alone.
    #[command(flatten)]
    pub web: WebOptions,
}

impl AsRef<CommonOptions> for Options {
    fn as_ref(&self) -> &CommonOptions {
        &self.common
    }
}

/// Flags of this service alone.
#[derive(Debug, Clone, clap::Args)]
pub struct WebOptions {
    /// Serve the page from this folder instead of the one in the program. It is read once, at the start.
    #[arg(long, env = "GLANCE_PAGE_DIR", value_name = "FOLDER")]
    pub page_dir: Option<PathBuf>,

    /// A folder with `brand.json`, `brand.css` and pictures: the page's name, logo and colours. It is read once, at the start.
    #[arg(long, env = "GLANCE_BRAND_DIR", value_name = "FOLDER")]
    pub brand_dir: Option<PathBuf>,

    /// Whose pages may read the JSON from another host: `*`, `none`, or origins, separated by commas.
    #[arg(
        long,
        env = "GLANCE_CORS_ORIGINS",
        value_name = "ORIGINS",
        default_value = "*"
    )]
    pub cors_origins: Origins,

    /// Whose pages may open the feed: `*`, `none`, or `same` (the host that is asked) and origins, separated by commas.
    #[arg(
        long,
        env = "GLANCE_FEED_ORIGINS",
        value_name = "ORIGINS",
        default_value = "*"
    )]
    pub feed_origins: OriginRule,

    /// Whose pages may show the page in a frame: as for --feed-origins.
    #[arg(
        long,
        env = "GLANCE_FRAME_ORIGINS",
        value_name = "ORIGINS",
        default_value = "same",
        value_parser = OriginRule::for_policy
    )]
    pub frame_origins: OriginRule,

    /// Other hosts that a page of your own loads scripts, styles, fonts and pictures from, or talks to.
    #[arg(
        long,
        env = "GLANCE_PAGE_ORIGINS",
        value_name = "ORIGINS",
        default_value = "none",
        value_parser = OriginRule::for_policy
    )]
    pub page_origins: OriginRule,

    /// The most viewers at the same time.
    #[arg(long, env = "GLANCE_VIEWERS_MAX", value_name = "COUNT", default_value_t = VIEWERS_MAX, value_parser = clap::value_parser!(u32).range(1..))]
    pub viewers_max: u32,
}

const VIEWERS_MAX: u32 = 50_000;

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            page_dir: None,
            brand_dir: None,
            cors_origins: Origins::Everybody,
            feed_origins: OriginRule::Everybody,
            frame_origins: OriginRule::SAME,
            page_origins: OriginRule::NONE,
            viewers_max: VIEWERS_MAX,
        }
    }
}
