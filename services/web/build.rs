//! Builds again when a file of the page is added: the embedding alone only
//! notices files that were there before.

fn main() {
    for part in ["index.html", "brand", "css", "js", "icons"] {
        println!("cargo:rerun-if-changed=../../web/{part}");
    }
}
