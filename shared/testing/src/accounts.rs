//! The accounts of `nats.conf` in tests.

/// The configuration that operators run, so that the tests run with it too.
const CONFIGURATION: &str = include_str!("../../../nats.conf");
/// Where its accounts begin.
const ACCOUNTS: &str = "\n# ---- Who may do what.";
/// What begins a line that an operator copies for each bot.
const BOT: &str = "#bot ";
/// The users of the configuration that are no bots.
const USERS: [&str; 5] = ["aggregator", "bridge", "web", "operator", "system"];

/// The configuration without accounts: everybody may do everything.
pub(crate) fn open() -> String {
    let settings = CONFIGURATION.split_once(ACCOUNTS);
    settings.expect("nats.conf has accounts").0.to_owned()
}

/// The configuration with its accounts, and those of `bots`, made as it tells operators to.
pub(crate) fn closed(bots: &[&str]) -> String {
    let mut text = String::new();
    let mut block = String::new();
    for line in CONFIGURATION.lines() {
        let trimmed = line.trim_start();
        if let Some(rest) = trimmed.strip_prefix(BOT) {
            block += &format!("{rest}\n");
            continue;
        }
        for bot in bots.iter().filter(|_| !block.is_empty()) {
            text += &of_bot(&block, bot);
        }
        block.clear();
        text += &format!("{line}\n");
    }
    text
}

fn of_bot(block: &str, bot: &str) -> String {
    let upper = bot.to_uppercase();
    block
        .replace("BOT_main", &format!("BOT_{bot}"))
        .replace("BOT_MAIN", &format!("BOT_{upper}"))
        .replace("glance.main.", &format!("glance.{bot}."))
        .replace("user: main,", &format!("user: {bot},"))
}

/// The password of a user, or of a bot.
#[must_use]
pub fn password(user: &str) -> String {
    format!("password-of-{user}")
}

/// The variables that the configuration takes passwords from.
pub(crate) fn variables(bots: &[String]) -> Vec<(String, String)> {
    let users = USERS.map(|user| (user.to_uppercase(), user));
    let bots = bots
        .iter()
        .map(|bot| (format!("BOT_{}", bot.to_uppercase()), bot.as_str()));
    let variable = |(name, user)| (format!("GLANCE_NATS_{name}_PASSWORD"), password(user));
    users.into_iter().chain(bots).map(variable).collect()
}
