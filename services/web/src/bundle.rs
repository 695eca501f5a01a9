//! Makes one file of the page's many modules, and one of its style sheets, so
//! that a page over a slow line is a handful of requests. Pure.
//!
//! This is no general bundler. It takes modules of a plain form, the one of
//! `web/js`: imports and exports begin at the start of a line, an import stands
//! in one line, and what is exported is a declaration. Anything else is left as
//! it is, and the browser loads the modules one by one.

use std::{collections::BTreeMap, fmt::Write as _};

use bytes::Bytes;

/// The files of a page, by name.
pub(crate) type Files = BTreeMap<String, Bytes>;

/// More modules than this are no page.
const MODULES_MAX: usize = 500;

/// Joins a module and all that it imports into one module.
///
/// # Errors
///
/// What is not of the plain form.
pub(crate) fn join_modules(files: &Files, entry: &str) -> Result<String, String> {
    let mut modules = Vec::new();
    visit(files, entry, &mut Vec::new(), &mut modules)?;
    let mut out = String::new();
    let place = |name: &str| modules.iter().position(|module| module.name == name);
    for (number, module) in modules.iter().enumerate() {
        // Each has a scope of its own, so equal names do not meet.
        let _ = writeln!(out, "const _{number}=(()=>{{");
        for import in &module.imports {
            let from = place(&import.from).ok_or("a module is used before it is there")?;
            let _ = writeln!(out, "const {}=_{from}{};", import.names, import.member);
        }
        out.push_str(&module.body);
        let _ = writeln!(out, "return{{{}}}}})();", module.exports.join(","));
    }
    Ok(out)
}

/// Joins style sheets. Their addresses count from the folder that they are in, so that has to be the same one.
///
/// # Errors
///
/// The sheet that is missing or in another folder.
pub(crate) fn join_styles(files: &Files, names: &[&str]) -> Result<String, String> {
    let mut out = String::new();
    for name in names {
        if folder(name) != folder(names[0]) {
            return Err(format!("{name} is in another folder"));
        }
        let sheet = text(files, name)?;
        // These have to be first in a sheet.
        if ["@import", "@charset", "@namespace"]
            .iter()
            .any(|rule| sheet.contains(rule))
        {
            return Err(format!("{name} begins with a rule that has to be first"));
        }
        out.push_str(&without_comments(sheet));
    }
    Ok(out)
}

/// The modules that an entry needs, itself the last; each comes after those that it imports.
///
/// # Errors
///
/// As [`join_modules`].
pub(crate) fn list_modules(files: &Files, entry: &str) -> Result<Vec<String>, String> {
    let mut modules = Vec::new();
    visit(files, entry, &mut Vec::new(), &mut modules)?;
    Ok(modules.into_iter().map(|module| module.name).collect())
}

struct Module {
    name: String,
    imports: Vec<Import>,
    exports: Vec<String>,
    body: String,
}

struct Import {
    /// The name of the other module.
    from: String,
    /// As in a destructuring declaration.
    names: String,
    /// What of the other module is taken: all, or `.default`.
    member: &'static str,
}

fn visit(
    files: &Files,
    name: &str,
    above: &mut Vec<String>,
    modules: &mut Vec<Module>,
) -> Result<(), String> {
    if modules.iter().any(|module| module.name == name) {
        return Ok(());
    }
    if above.iter().any(|module| module == name) {
        return Err(format!("{name} imports itself by way of others"));
    }
    if above.len() + modules.len() >= MODULES_MAX {
        return Err(format!("there are more than {MODULES_MAX} modules"));
    }
    let module = read(files, name)?;
    for lazy in module.body.split("import(\"./").skip(1) {
        let lazy = lazy.split('"').next().unwrap_or_default();
        let lazy = beside(name, lazy);
        if !read(files, &lazy)?.imports.is_empty() {
            // What it imports would be there twice.
            return Err(format!(
                "{lazy} is imported when it is needed, and imports others"
            ));
        }
    }
    let entry = above.first().map_or(name, String::as_str);
    if folder(name) != folder(entry) && module.body.contains("import(") {
        return Err(format!(
            "{name} imports by an address that counts from its folder"
        ));
    }
    above.push(name.to_owned());
    for import in &module.imports {
        visit(files, &import.from, above, modules)?;
    }
    above.pop();
    modules.push(module);
    Ok(())
}

fn read(files: &Files, name: &str) -> Result<Module, String> {
    let source = text(files, name)?;
    check_scope(source, name)?;
    let mut module = Module {
        name: name.to_owned(),
        imports: Vec::new(),
        exports: Vec::new(),
        body: String::new(),
    };
    for line in without_comments(source).lines() {
        let strange = || format!("{name} has a line of another form: {line}");
        if line.starts_with("import ") || line.starts_with("import{") {
            module
                .imports
                .push(read_import(line, name).ok_or_else(strange)?);
        } else if let Some(exported) = line.strip_prefix("export ") {
            let (kept, export) = read_export(exported).ok_or_else(strange)?;
            module.exports.push(export);
            module.body.push_str(kept);
            module.body.push('\n');
        } else if line.starts_with("export{") || line.starts_with("export*") {
            return Err(strange());
        } else {
            module.body.push_str(line);
            module.body.push('\n');
        }
    }
    Ok(module)
}

/// What would mean something else in another file, or inside of a function.
fn check_scope(source: &str, name: &str) -> Result<(), String> {
    if source.contains("import.meta") {
        return Err(format!("{name} uses import.meta"));
    }
    // The statement of the module that a line belongs to, by its first line.
    let mut statement = "";
    for line in source.lines() {
        if !line.starts_with([' ', '\t', '/', '*', '}', ']', ')']) && !line.is_empty() {
            statement = line;
        }
        let is_code = !line.trim_start().starts_with(['/', '*']);
        let declared = statement.trim_start_matches("export ");
        let holds_functions = ["class ", "function", "default class "]
            .iter()
            .any(|start| declared.starts_with(start));
        let waits = line.contains("await ") || line.contains("await(");
        if is_code && waits && !holds_functions && !statement.contains("async ") {
            return Err(format!("{name} waits outside of functions"));
        }
    }
    Ok(())
}

/// `import { a, b as c } from "./x.js";` or `import a from "./x.js";`
fn read_import(line: &str, name: &str) -> Option<Import> {
    let line = line.strip_prefix("import")?.trim_start();
    let (names, from) = line.split_once(" from ")?;
    let from = from
        .strip_suffix(';')?
        .trim_matches('"')
        .strip_prefix("./")?;
    let from = beside(name, from);
    let names = names.trim();
    if is_name(names) {
        return Some(Import {
            from,
            names: names.to_owned(),
            member: ".default",
        });
    }
    let list = names.strip_prefix('{')?.strip_suffix('}')?;
    let mut taken = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (theirs, ours) = entry.split_once(" as ").unwrap_or((entry, entry));
        if !is_name(theirs) || !is_name(ours) {
            return None;
        }
        taken.push(match theirs == ours {
            true => ours.to_owned(),
            false => format!("{theirs}:{ours}"),
        });
    }
    Some(Import {
        from,
        names: format!("{{{}}}", taken.join(",")),
        member: "",
    })
}

/// What is kept of a line after `export `, and the entry in the list of exports.
fn read_export(line: &str) -> Option<(&str, String)> {
    if let Some(name) = line.strip_prefix("default ") {
        let name = name.strip_suffix(';').filter(|name| is_name(name))?;
        return Some(("", format!("default:{name}")));
    }
    let kinds = [
        "class ",
        "function ",
        "async function ",
        "function* ",
        "const ",
    ];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
    let end = rest.find(|c: char| !is_name_char(c))?;
    let name = &rest[..end];
    // Of several in one line, the others would be lost.
    let is_one = !line.starts_with("const ") || rest.matches(" = ").count() == 1;
    (is_name(name) && is_one).then(|| (line, name.to_owned()))
}

fn is_name(text: &str) -> bool {
    text.chars().all(is_name_char) && text.chars().next().is_some_and(|c| !c.is_ascii_digit())
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$'
}

/// The name of a file in the same folder as another one.
fn beside(name: &str, other: &str) -> String {
    match folder(name) {
        "" => other.to_owned(),
        folder => format!("{folder}/{other}"),
    }
}

fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn text<'a>(files: &'a Files, name: &str) -> Result<&'a str, String> {
    let body = files
        .get(name)
        .ok_or_else(|| format!("{name} is missing"))?;
    let text = std::str::from_utf8(body).map_err(|_| format!("{name} is not UTF-8"))?;
    Ok(text.trim_start_matches('\u{feff}'))
}

/// Leaves out blank lines, indentation, and comments that have lines of their own.
///
/// A text in backticks may go over several lines, and is not to be touched: where there may be one, all is kept.
fn without_comments(source: &str) -> String {
    let is_open = |line: &str| line.matches('`').count() % 2 == 1;
    if source.lines().any(is_open) {
        return source.to_owned();
    }
    let mut out = String::with_capacity(source.len());
    let mut in_comment = false;
    for line in source.lines().map(str::trim) {
        let code = if in_comment || line.starts_with("/*") {
            let after = line.split_once("*/").map(|(_, after)| after.trim_start());
            in_comment = after.is_none();
            match after {
                // A type that is told to the checker of types; or nothing is left.
                Some(after) => after,
                None => continue,
            }
        } else if line.starts_with("//") {
            continue;
        } else {
            line
        };
        if !code.is_empty() {
            out.push_str(code);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests;
