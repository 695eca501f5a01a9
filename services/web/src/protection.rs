//! Headers that tell browsers what an answer may be used for.

use warp::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    reply::Response,
};

use crate::{OriginRule, policy, representation::set};

const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";
/// What the page never asks for.
const PERMISSIONS_NONE: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

/// The headers of the answers.
#[derive(Debug)]
pub(crate) struct Protection {
    page: HeaderValue,
    picture: HeaderValue,
    other: HeaderValue,
}

impl Default for Protection {
    fn default() -> Self {
        Self::new(NOTHING, &OriginRule::NONE)
    }
}

impl Protection {
    /// `page` is the policy of the page; `frames` says who may show the rest in a frame.
    #[must_use]
    pub(crate) fn new(page: &str, frames: &OriginRule) -> Self {
        // What it is made of was checked when the settings were read.
        let value = |policy: &str| {
            HeaderValue::from_str(policy).unwrap_or(HeaderValue::from_static(NOTHING))
        };
        Self {
            page: value(page),
            // Drawing programs put styles into their files; some browsers heed this also where such a picture is shown.
            picture: value("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
            other: value(&policy::with_frames("default-src 'none'", frames)),
        }
    }

    /// Adds the headers to the answer that a path got.
    pub(crate) fn add(&self, path: &str, response: &mut Response) {
        // A browser keeps the headers of what it has, and a WebSocket is no document.
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let headers = response.headers_mut();
        set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        let content_type = headers.get(header::CONTENT_TYPE);
        let is_svg = content_type.is_some_and(|it| it == "image/svg+xml");
        let is_part = path.starts_with("/assets/");
        let policy = match path {
            "/" => &self.page,
            _ if is_svg => &self.picture,
            _ => &self.other,
        };
        // A document among the parts has one of its own.
        let told = headers.entry(header::CONTENT_SECURITY_POLICY);
        told.or_insert_with(|| policy.clone());
        // Parts may be used anywhere. The rest is asked for, and then `Access-Control-Allow-Origin` decides.
        let readers = if is_part {
            "cross-origin"
        } else {
            "same-origin"
        };
        set(headers, RESOURCE, readers);
        if !is_part {
            set(headers, header::REFERRER_POLICY, "no-referrer");
        }
        if path == "/" {
            set(headers, OPENER, "same-origin");
            set(headers, PERMISSIONS, PERMISSIONS_NONE);
        }
    }
}
