//! The operator's name, logo and colours on the page: a folder with a
//! `brand.json`, a `brand.css` and pictures. It is laid over the one of the page.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use glance_runner::ConfigError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    origin::{self, Problem, UNFIT, fits_policy},
    page::content_type,
};

/// The folder of the page with what may be replaced.
pub(crate) const FOLDER: &str = "brand";
const FILE: &str = "brand/brand.json";
const VARIABLE: &str = "GLANCE_BRAND_DIR";
const FILES_MAX: usize = 100;
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
const TITLE_CHARS_MAX: usize = 60;
const DESCRIPTION_CHARS_MAX: usize = 300;
const LANGUAGES: [&str; 4] = ["", "en", "de", "es"];

/// What `brand.json` says. Each field may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Brand {
    /// The name of the page.
    pub title: String,
    /// Where a click on the title leads; empty: to the top of the page.
    pub link: String,
    /// A picture in the same folder; empty: the one that comes with Glance.
    pub logo: String,
    /// Where the data comes from, for a page on another host; empty: from where the page came.
    pub api: String,
    /// The public address of the page, for links that unfurl with a picture.
    pub address: String,
    /// What search engines and unfurled links say below the title.
    pub description: String,
    /// `en`, `de` or `es`; empty: each viewer's own.
    pub language: String,
}

impl Default for Brand {
    fn default() -> Self {
        let empty = String::new;
        Self {
            title: "Glance".to_owned(),
            link: empty(),
            logo: empty(),
            api: empty(),
            address: empty(),
            description: "Whether the bot works, and for which servers it does not.".to_owned(),
            language: empty(),
        }
    }
}

/// Replaces files of the page by those in the operator's folder.
///
/// # Errors
///
/// When the folder cannot be read, or holds too much.
pub(crate) fn lay_over(
    files: &mut BTreeMap<String, Bytes>,
    folder: &Path,
) -> Result<(), ConfigError> {
    let error = |problem| ConfigError::new(VARIABLE, &folder.display().to_string(), problem);
    let unread = |cause| error(format!("cannot be read ({cause}); correct the folder"));
    let mut count = 0;
    for entry in fs::read_dir(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = fs::metadata(entry.path()).map_err(unread)?;
        if !size.is_file() {
            continue;
        }
        count += 1;
        if count > FILES_MAX {
            return Err(error(format!(
                "has more than {FILES_MAX} files; remove some"
            )));
        }
        if size.len() > FILE_BYTES_MAX {
            return Err(error(format!(
                "{name} is larger than 4 MiB; make it smaller"
            )));
        }
        let body = fs::read(entry.path()).map_err(unread)?;
        files.insert(format!("{FOLDER}/{name}"), body.into());
    }
    Ok(())
}

impl Brand {
    /// Reads `brand.json` of the page's files and checks it.
    ///
    /// # Errors
    ///
    /// When it is wrong.
    pub(crate) fn read(files: &BTreeMap<String, Bytes>) -> Result<Self, ConfigError> {
        let error = |field: &str, problem: &str| {
            let entry = format!("brand.json{field}");
            ConfigError::new(VARIABLE, &entry, problem.to_owned())
        };
        let Some(body) = files.get(FILE) else {
            return Ok(Self::default());
        };
        let brand: Self = serde_json::from_slice(body)
            .map_err(|cause| error("", &format!("cannot be used ({cause}); correct the file")))?;
        if brand.title.trim().is_empty() || brand.title.chars().count() > TITLE_CHARS_MAX {
            return Err(error(": title", "has to have 1 to 60 characters"));
        }
        if brand.description.chars().count() > DESCRIPTION_CHARS_MAX {
            return Err(error(": description", "may have at most 300 characters"));
        }
        for (field, url) in [
            (": link", &brand.link),
            (": api", &brand.api),
            (": address", &brand.address),
        ] {
            if !url.is_empty() && !is_url(url) {
                let problem = "has to be empty or begin with https:// or http://";
                return Err(error(field, problem));
            }
        }
        check_api(&brand.api).map_err(|problem| error(": api", &problem))?;
        let logo = format!("{FOLDER}/{}", brand.logo);
        if !brand.logo.is_empty() && content_type(&logo).is_none_or(|it| !it.starts_with("image/"))
        {
            return Err(error(": logo", "has to be svg, png, jpg, gif, webp or ico"));
        }
        if !brand.logo.is_empty() && !files.contains_key(&logo) {
            return Err(error(
                ": logo",
                "is no file in that folder; put the picture there and name it without a path",
            ));
        }
        if !LANGUAGES.contains(&brand.language.as_str()) {
            return Err(error(": language", "has to be en, de, es or empty"));
        }
        Ok(brand)
    }

    /// The picture beside the title, below the folder of the assets.
    #[must_use]
    pub(crate) fn logo(&self) -> String {
        match &self.logo[..] {
            "" => "icons/favicon.svg".to_owned(),
            name => format!("{FOLDER}/{name}"),
        }
    }

    /// What the scripts are told.
    #[must_use]
    pub(crate) fn config(&self, assets: &str, build: &str) -> Value {
        json!({
            "title": self.title,
            "api": self.api,
            "language": self.language,
            "assets": assets,
            "build": build,
        })
    }

    /// What a phone needs to put the page on its home screen. Addresses count from the page.
    #[must_use]
    pub(crate) fn manifest(&self, assets: &str) -> String {
        let icon = |name: &str, size: &str, purpose: &str| {
            let src = format!("{assets}/icons/{name}");
            json!({"src": src, "sizes": size, "type": "image/png", "purpose": purpose})
        };
        let manifest = json!({
            "name": self.title,
            "short_name": self.title,
            "description": self.description,
            "start_url": "./",
            "scope": "./",
            "display": "standalone",
            "background_color": "#0f141a",
            "theme_color": "#0f141a",
            "icons": [
                icon("icon-192.png", "192x192", "any"),
                icon("icon-512.png", "512x512", "any"),
                icon("icon-maskable.png", "512x512", "maskable"),
            ],
        });
        manifest.to_string()
    }
}

/// The page may only ask for data where its policy names the host.
fn check_api(api: &str) -> Result<(), String> {
    if api.is_empty() {
        return Ok(());
    }
    match origin::of_address(api) {
        Ok(origin) if fits_policy(&origin) => Ok(()),
        Ok(origin) => Err(format!("'{origin}' {UNFIT}")),
        Err(Problem::NotAscii(written)) => Err(format!(
            "has a host that browsers write in another way; begin with {written}"
        )),
        Err(Problem::NotOne) => Err(
            "has no host that a page can ask; write an address such as https://status.example.org/glance"
                .to_owned(),
        ),
    }
}

fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty())
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Brand, ConfigError> {
        let files = [(FILE, json), ("brand/logo.svg", "<svg/>")];
        let files = files.map(|(name, body)| (name.to_owned(), Bytes::from(body.to_owned())));
        Brand::read(&files.into())
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, named) in [
            (r#"{"titel":"A"}"#, "titel"),
            ("{", "brand.json"),
            (r#"{"title":""}"#, "title"),
            (r#"{"link":"javascript:alert(1)"}"#, "link"),
            (r#"{"api":"https://a b"}"#, "api"),
            (r#"{"api":"https://u:p@a.org"}"#, "api"),
            (r#"{"api":"https://a.org:99999/"}"#, "api"),
            (r#"{"api":"https://a;b.org/"}"#, "api"),
            (
                r#"{"api":"https://bücher.example/x"}"#,
                "begin with https://xn--bcher-kva.example",
            ),
            (r#"{"api":"http://status_web:3000"}"#, "Policy"),
            (r#"{"api":"http://[::1]:3000/"}"#, "IPv6"),
            (r#"{"logo":"../../secret.svg"}"#, "logo"),
            (r#"{"logo":"logo.bmp"}"#, "svg, png"),
            (r#"{"language":"fr"}"#, "language"),
        ] {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(VARIABLE) && error.contains(named), "{error}");
        }
    }

    #[test]
    fn every_field_may_be_left_out() {
        assert_eq!(read("{}").unwrap(), Brand::default());
        let api = r#"{"api":"https://Status.example.org:443/glance/"}"#;
        assert!(read(api).is_ok());
        let brand = read(r#"{"title":"Bot","logo":"logo.svg"}"#).unwrap();
        assert_eq!(brand.logo(), "brand/logo.svg");
        assert_eq!(Brand::read(&BTreeMap::new()).unwrap(), Brand::default());
    }
}
