//! The page and its parts: embedded in the program, or from a folder. They are
//! read and compressed once, at the start; a request only looks a name up.
//!
//! The names of the parts carry a hash of all of them. So they may be kept for
//! ever, and a page never mixes parts of two versions.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use bytes::Bytes;
use glance_runner::ConfigError;
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use crate::{
    WebOptions,
    brand::{self, Brand},
    html::Template,
    parts, policy,
    representation::{Representation, etag_of, hex},
    verdict::Verdict,
};

const INDEX: &str = "index.html";
/// Folders that are served with all that is in them.
const FOLDERS: [&str; 4] = ["css", "js", "icons", brand::FOLDER];
const DEPTH_MAX: usize = 8;
const FILES_MAX: usize = 1000;
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(RustEmbed)]
#[folder = "../../web"]
#[include = "index.html"]
#[include = "brand/*"]
#[include = "css/*"]
#[include = "js/*"]
#[include = "icons/*"]
struct Embedded;

/// The page with all its parts.
#[derive(Debug)]
pub(crate) struct Page {
    files: BTreeMap<String, Representation>,
    index: Template,
    manifest: Representation,
    build: Arc<str>,
}

impl Page {
    /// The page that the options name, with the operator's brand on it.
    ///
    /// # Errors
    ///
    /// When a folder cannot be read, or what is in it is wrong.
    pub(crate) fn load(options: &WebOptions) -> Result<Self, ConfigError> {
        Self::of(read(options)?, Host::This, options)
    }

    /// The same page for a host that only serves files.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub(crate) fn load_for_export(options: &WebOptions) -> Result<Self, ConfigError> {
        let mut page = Self::of(read(options)?, Host::Another, options)?;
        page.index.show_policy();
        Ok(page)
    }

    fn of(
        mut files: BTreeMap<String, Bytes>,
        host: Host,
        options: &WebOptions,
    ) -> Result<Self, ConfigError> {
        let (others, frames) = (&options.page_origins, &options.frame_origins);
        let error = |problem: String| ConfigError::new("GLANCE_PAGE_DIR", INDEX, problem);
        let index = files.remove(INDEX).unwrap_or_default();
        let html = std::str::from_utf8(&index)
            .map_err(|_| error("is not UTF-8; correct the file".to_owned()))?;
        let html = parts::lay_out(html, &mut files);
        let brand = Brand::read(&files)?;
        let mut build = Sha256::new();
        build.update(Sha256::digest(&index));
        let mut representations = BTreeMap::new();
        for (name, body) in files {
            let Some(content_type) = content_type(&name) else {
                continue;
            };
            let policy = content_type.starts_with("text/html").then(|| {
                let text = String::from_utf8_lossy(&body);
                policy::with_frames(&policy::of(&text, &brand.api, others), frames)
            });
            // Who has a document already keeps the policy that came with it.
            let hash = Sha256::new()
                .chain_update(&body)
                .chain_update(policy.as_deref().unwrap_or_default())
                .finalize();
            build.update(&name);
            build.update(hash);
            let file = Representation::new(content_type, body, etag_of(&hash));
            representations.insert(name, file.with_policy(policy.as_deref()));
        }
        let build = hex(&build.finalize());
        let known = match host {
            Host::This => &build[..],
            Host::Another => "",
        };
        let mut index = Template::new(&html, brand, format!("assets/{build}"), known)
            .map_err(|problem| error(format!("has a gap that cannot be filled: {problem}")))?;
        index.allow(others, frames);
        Ok(Self {
            files: representations,
            manifest: index.manifest(),
            index,
            build: build.into(),
        })
    }

    /// A hash of all parts: another one means another page.
    #[must_use]
    pub(crate) fn build(&self) -> Arc<str> {
        self.build.clone()
    }

    /// What it may do in a browser.
    #[must_use]
    pub(crate) fn policy(&self) -> &str {
        self.index.policy()
    }

    /// The name that the operator gave it.
    #[must_use]
    pub(crate) fn title(&self) -> &str {
        self.index.title()
    }

    /// What `/` serves.
    #[must_use]
    pub(crate) fn index(&self, verdict: &Verdict) -> Arc<Representation> {
        self.index.render(verdict)
    }

    /// What `/manifest.webmanifest` serves.
    #[must_use]
    pub(crate) fn manifest(&self) -> &Representation {
        &self.manifest
    }

    /// What `/assets/<name>` serves, and whether it may be kept for ever. A name is only looked up, never opened.
    #[must_use]
    pub(crate) fn asset(&self, name: &str) -> Option<(&Representation, bool)> {
        let hashed = name
            .strip_prefix(&*self.build)
            .and_then(|name| name.strip_prefix('/'));
        match hashed {
            Some(name) => self.files.get(name).map(|file| (file, true)),
            None => self.files.get(name).map(|file| (file, false)),
        }
    }

    /// Writes the page for a host that only serves files. It has no verdict in it, and does not know its own build:
    /// the web service that it asks may have another one.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub(crate) fn export(&self, folder: &Path) -> std::io::Result<()> {
        let write = |name: &str, file: &Representation| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(path, file.body())
        };
        for (name, file) in &self.files {
            write(&format!("assets/{}/{name}", self.build), file)?;
        }
        write("manifest.webmanifest", &self.manifest)?;
        write(INDEX, &self.index(&Verdict::elsewhere(self.title())))
    }
}

/// Who serves a page.
#[derive(Debug, Clone, Copy)]
enum Host {
    /// The service that the data comes from: it has the same page.
    This,
    /// Another one, whose page may be older or newer than the service's for good.
    Another,
}

/// The files of the page that the options name.
fn read(options: &WebOptions) -> Result<BTreeMap<String, Bytes>, ConfigError> {
    let mut files = match &options.page_dir {
        Some(folder) => read_folder(folder)?,
        None => embedded(),
    };
    if let Some(folder) = &options.brand_dir {
        brand::lay_over(&mut files, folder)?;
    }
    Ok(files)
}

/// The page that is part of the program.
fn embedded() -> BTreeMap<String, Bytes> {
    let files: BTreeMap<String, Bytes> = Embedded::iter()
        .filter_map(|name| {
            let file = Embedded::get(&name)?;
            Some((name.into_owned(), file.data.into_owned().into()))
        })
        .collect();
    if !files.contains_key(INDEX) {
        warn!("this program was built without a page");
    }
    files
}

/// The page in a folder.
fn read_folder(folder: &Path) -> Result<BTreeMap<String, Bytes>, ConfigError> {
    let error = |problem: String| {
        ConfigError::new("GLANCE_PAGE_DIR", &folder.display().to_string(), problem)
    };
    let mut files = Vec::new();
    for name in [INDEX].iter().chain(&FOLDERS) {
        collect(folder, Path::new(name), DEPTH_MAX, &mut files)
            .map_err(|e| error(format!("cannot be read ({e}); correct the folder")))?;
    }
    let files: BTreeMap<String, Bytes> = files.into_iter().collect();
    if !files.contains_key(INDEX) {
        return Err(error(format!(
            "holds no {INDEX}; name a folder with a page, or unset the variable"
        )));
    }
    Ok(files)
}

/// Reads a file, or all files in a folder that is below `root`. What is not there is left out.
fn collect(
    root: &Path,
    name: &Path,
    depth: usize,
    files: &mut Vec<(String, Bytes)>,
) -> std::io::Result<()> {
    let path = root.join(name);
    if path.is_dir() && depth > 0 {
        for entry in fs::read_dir(path)? {
            collect(root, &name.join(entry?.file_name()), depth - 1, files)?;
        }
    } else if path.is_file()
        && files.len() < FILES_MAX
        && fs::metadata(&path)?.len() <= FILE_BYTES_MAX
        && let Some(name) = name.to_str()
        && content_type(name).is_some()
    {
        files.push((name.to_owned(), fs::read(&path)?.into()));
    }
    Ok(())
}

/// `None` for what is no part of a page.
pub(crate) fn content_type(name: &str) -> Option<&'static str> {
    let file = name.rsplit('/').next()?;
    let (stem, extension) = file.rsplit_once('.')?;
    if stem.is_empty() {
        return None;
    }
    Some(match extension {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use warp::http::{HeaderMap, header};

    use super::*;

    #[test]
    fn a_folder_gives_only_what_belongs_to_a_page() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["css/deep", "js", "tests", "node_modules", ".git"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in [
            "index.html",
            "top.js",
            "secret.txt",
            "package.json",
            "css/deep/a.css",
            "css/.hidden.css",
            "css/.env",
            "js/app.js",
            "js/app.ts",
            "tests/a.js",
            "node_modules/a.js",
            ".git/config.js",
        ] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let load = || {
            let files = read_folder(folder.path()).unwrap();
            Page::of(files, Host::This, &WebOptions::default()).unwrap()
        };
        let page = load();
        let names: Vec<&str> = page.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["css/.hidden.css", "css/deep/a.css", "js/app.js"]);
        assert!(page.asset("index.html").is_none());
        assert!(page.asset("js/../secret.txt").is_none());
        fs::write(folder.path().join("js/app.js"), "other").unwrap();
        assert_ne!(load().build(), page.build());
    }

    #[test]
    fn a_document_of_another_policy_is_another_document() {
        let load = |origins: &str| {
            let files =
                ["brand/imprint.html", "js/a.js"].map(|name| (name.to_owned(), name.into()));
            let options = WebOptions {
                page_origins: origins.parse().unwrap(),
                ..WebOptions::default()
            };
            Page::of(files.into(), Host::This, &options).unwrap()
        };
        let (first, second) = (load("none"), load("https://a.org"));
        let etag = |page: &Page, name: &str| {
            let (file, _) = page.asset(name).unwrap();
            let answer = file.answer(&HeaderMap::new());
            answer.headers()[header::ETAG].clone()
        };
        let differs = |name: &str| etag(&first, name) != etag(&second, name);
        assert!(differs("brand/imprint.html") && !differs("js/a.js"));
        // Below this, it is kept for ever.
        assert_ne!(first.build(), second.build());
        let again = load("none");
        assert_eq!(first.build(), again.build());
    }

    #[test]
    fn a_folder_without_a_page_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_folder(folder.path()).unwrap_err();
        assert!(error.to_string().contains("GLANCE_PAGE_DIR"), "{error}");
        assert!(read_folder(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn a_first_visit_is_a_handful_of_requests_and_small() {
        let page = Page::of(embedded(), Host::This, &WebOptions::default()).unwrap();
        let index = page.index(&Verdict::starting());
        let html = std::str::from_utf8(index.body()).unwrap();
        let start = format!("=\"assets/{}/", page.build);
        let parts: Vec<&str> = html.split(&start[..]).skip(1).collect();
        let names = parts.iter().filter_map(|part| part.split('"').next());
        let names: Vec<&str> = names.collect();
        assert!(
            names.contains(&"js/all.js") && names.contains(&"css/all.css"),
            "{names:?}"
        );
        assert!(names.len() < 10, "{names:?}");
        let parts = names.iter().filter_map(|name| page.files.get(*name));
        let bytes: usize = parts.map(Representation::sent_bytes).sum();
        assert!(bytes + index.sent_bytes() < 55_000, "{bytes} bytes");
    }

    #[test]
    fn nothing_but_the_page_is_embedded() {
        for name in Embedded::iter() {
            let top = name.split('/').next().unwrap();
            assert!(top == INDEX || FOLDERS.contains(&top), "{name}");
        }
    }
}
