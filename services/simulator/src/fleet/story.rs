//! What happens to a fleet besides its everyday life.

use std::{sync::Arc, time::Duration};

use glance_protocol::State;
use rand::RngExt;

use super::{Action, At, Event, Fleet, Group};

/// How often the story looks whether it can go on.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Calm before the first chapter of a story that begins with a running fleet.
const FIRST_REST: Duration = Duration::from_secs(10);
/// Calm between two chapters.
const REST: Duration = Duration::from_secs(30);
/// How long a group stays dead: longer than the health timeout, so that Glance notices.
const DEAD: Duration = Duration::from_secs(100);
/// How long nobody notices a zombie.
const ZOMBIE: Duration = Duration::from_secs(90);
/// How long the gateway is down.
const OUTAGE: Duration = Duration::from_secs(45);
/// A deploy goes on without a group that has not come up for this long.
const GROUP_WAIT_MAX: Duration = Duration::from_secs(120);
/// How many shards are tried to find one that is online.
const PICKS_MAX: usize = 100;

/// What happens to a fleet. Every scenario but `steady` repeats itself after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// Everything is online, and a connection is lost now and then.
    Steady,
    /// All processes start at once, and wait for their turns to identify.
    ColdStart,
    /// A new version replaces the old one, group by group.
    RollingDeploy,
    /// A shard is online by its own word, but receives nothing.
    Zombie,
    /// A process is killed, and comes back after a while.
    DeadGroup,
    /// Discord's gateway drops all connections, and takes none for a while.
    Outage,
    /// All of these, one after the other.
    Mixed,
}

impl Scenario {
    fn chapters(self) -> &'static [Chapter] {
        match self {
            Self::Steady => &[],
            Self::ColdStart => &[Chapter::ColdStart],
            Self::RollingDeploy => &[Chapter::RollingDeploy],
            Self::Zombie => &[Chapter::Zombie],
            Self::DeadGroup => &[Chapter::DeadGroup],
            Self::Outage => &[Chapter::Outage],
            Self::Mixed => &[
                Chapter::DeadGroup,
                Chapter::Zombie,
                Chapter::RollingDeploy,
                Chapter::Outage,
                Chapter::ColdStart,
            ],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chapter {
    ColdStart,
    RollingDeploy,
    Zombie,
    DeadGroup,
    Outage,
}

/// Where the story is.
#[derive(Debug)]
pub(super) struct Story {
    scenario: Scenario,
    /// The chapters told so far.
    told: usize,
    releases: u32,
    scene: Scene,
}

/// What the story waits for.
#[derive(Debug)]
enum Scene {
    Rest {
        until: Duration,
    },
    Deploy(Deploy),
    Zombie {
        at: At,
        until: Duration,
    },
    Dead {
        group: Group,
        until: Duration,
    },
    Outage {
        until: Duration,
    },
    /// Until nearly all shards are online.
    Recovery,
}

/// A rolling deploy. The groups still to come are in reverse order.
#[derive(Debug)]
struct Deploy {
    left: Vec<Group>,
    current: Option<(Group, Duration)>,
}

impl Story {
    pub(super) fn new(scenario: Scenario) -> Self {
        let story = |until| Self {
            scenario,
            told: 0,
            releases: 0,
            scene: Scene::Rest { until },
        };
        let first = story(Duration::ZERO);
        if first.begins_cold() {
            first
        } else {
            story(FIRST_REST)
        }
    }

    /// Whether no process runs yet when the story begins.
    pub(super) fn begins_cold(&self) -> bool {
        self.scenario.chapters().first() == Some(&Chapter::ColdStart)
    }

    fn next_chapter(&mut self) -> Option<Chapter> {
        let chapters = self.scenario.chapters();
        let index = self.told.checked_rem(chapters.len())?;
        self.told += 1;
        chapters.get(index).copied()
    }
}

/// The version of a release.
pub(super) fn version(release: u32) -> Arc<str> {
    format!("1.{release}.0").into()
}

impl Fleet {
    /// Goes on with the story if it is time to.
    pub(super) fn tell_on(&mut self) {
        let now = self.now;
        let scene = std::mem::replace(&mut self.story.scene, Scene::Recovery);
        self.story.scene = match scene {
            Scene::Rest { until } if now >= until => self.begin_chapter(),
            Scene::Deploy(deploy) => self.go_on_with_deploy(deploy),
            Scene::Zombie { at, until } if now >= until => self.end_zombie(at),
            Scene::Dead { group, until } if now >= until => {
                self.tell(format!("{} is started again", self.name_of(group)));
                self.boot(group);
                Scene::Recovery
            }
            Scene::Outage { until } if now >= until => self.end_outage(),
            Scene::Recovery if self.is_calm() => {
                self.tell("the fleet is up".into());
                Scene::Rest { until: now + REST }
            }
            waiting => waiting,
        };
        self.schedule.add(now + LOOK_INTERVAL, Event::Story);
    }

    fn begin_chapter(&mut self) -> Scene {
        match self.story.next_chapter() {
            // A steady fleet rests for ever.
            None => Scene::Rest {
                until: Duration::MAX,
            },
            Some(Chapter::ColdStart) => self.begin_cold_start(),
            Some(Chapter::RollingDeploy) => self.begin_deploy(),
            Some(Chapter::Zombie) => self.begin_zombie(),
            Some(Chapter::DeadGroup) => self.begin_dead_group(),
            Some(Chapter::Outage) => self.begin_outage(),
        }
    }

    fn begin_cold_start(&mut self) -> Scene {
        self.tell("all processes start at once".into());
        for group in self.all_groups() {
            if self.process(group).alive {
                self.stop(group);
            } else {
                self.after(0.0, 10.0, Event::Boot(group));
            }
        }
        Scene::Recovery
    }

    /// Small bots first: they are the canaries of the large ones.
    fn begin_deploy(&mut self) -> Scene {
        self.story.releases += 1;
        self.release = version(self.story.releases);
        self.tell(format!("version {} is deployed", self.release));
        let mut left = self.all_groups();
        left.sort_by_key(|it| (self.bots[it.bot].total, it.bot, it.group));
        left.reverse();
        Scene::Deploy(Deploy {
            left,
            current: None,
        })
    }

    fn go_on_with_deploy(&mut self, mut deploy: Deploy) -> Scene {
        if let Some((group, since)) = deploy.current
            && !self.is_deployed(group)
            && self.now < since + GROUP_WAIT_MAX
        {
            return Scene::Deploy(deploy);
        }
        let Some(next) = deploy.left.pop() else {
            self.tell(format!("version {} is everywhere", self.release));
            return Scene::Recovery;
        };
        self.stop(next);
        deploy.current = Some((next, self.now));
        Scene::Deploy(deploy)
    }

    fn is_deployed(&self, group: Group) -> bool {
        let process = self.process(group);
        process.alive
            && process.version == self.release
            && self
                .shards_of(group)
                .all(|at| self.shard(at).state != State::Starting)
    }

    fn begin_zombie(&mut self) -> Scene {
        let Some(at) = self.pick_online() else {
            return Scene::Recovery;
        };
        self.shard_mut(at).vitals.zombie = true;
        self.tell(format!("{} becomes a zombie", self.name_of_shard(at)));
        let until = self.now + ZOMBIE;
        Scene::Zombie { at, until }
    }

    fn end_zombie(&mut self, at: At) -> Scene {
        // It may have reconnected by itself.
        if self.shard(at).vitals.zombie {
            self.tell(format!("{} starts a new session", self.name_of_shard(at)));
            self.start_session(at);
        }
        Scene::Recovery
    }

    fn begin_dead_group(&mut self) -> Scene {
        let At { bot, shard } = self.pick();
        let group = Group {
            bot,
            group: self.bots[bot].group_of(shard),
        };
        self.tell(format!("{} is killed", self.name_of(group)));
        self.kill(group);
        let until = self.now + DEAD;
        Scene::Dead { group, until }
    }

    fn begin_outage(&mut self) -> Scene {
        self.tell("the gateway drops all connections".into());
        self.lose_gateway();
        let until = self.now + OUTAGE;
        Scene::Outage { until }
    }

    fn end_outage(&mut self) -> Scene {
        self.tell("the gateway is back".into());
        self.regain_gateway();
        Scene::Recovery
    }

    /// Now and then some connection is lost, so a large fleet is never all online.
    fn is_calm(&self) -> bool {
        self.gateway_up && self.counts.of(State::Online) * 100 >= self.total() * 99
    }

    fn pick_online(&mut self) -> Option<At> {
        for _ in 0..PICKS_MAX {
            let at = self.pick();
            if self.shard(at).state == State::Online {
                return Some(at);
            }
        }
        None
    }

    /// Any shard of any bot.
    fn pick(&mut self) -> At {
        let mut number = self.rng.random_range(0..self.total());
        for (bot, it) in self.bots.iter().enumerate() {
            if let Ok(shard) = u32::try_from(number)
                && shard < it.total
            {
                return At { bot, shard };
            }
            number -= it.shards.len();
        }
        At { bot: 0, shard: 0 }
    }

    fn name_of(&self, group: Group) -> String {
        let bot = &self.bots[group.bot];
        let shards = bot.shards_of(group.group);
        format!(
            "group {} of {} (shards {} to {})",
            group.group,
            bot.name,
            shards.start,
            shards.end - 1
        )
    }

    fn name_of_shard(&self, At { bot, shard }: At) -> String {
        format!("shard {shard} of {}", self.bots[bot].name)
    }

    fn tell(&mut self, text: String) {
        self.actions.push(Action::Told(self.now, text));
    }
}
