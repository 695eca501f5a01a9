//! How processes and shards live: start, connect, lose the connection, shut down, die.

use std::{sync::Arc, time::Duration};

use glance_protocol::{ShardId, State};
use rand::RngExt;

use super::{
    Action, At, CHECK_INTERVAL, Event, Fleet, Group, Identify, Message, Step, identify::Waiting,
};

/// A connection is lost about once in this time. Discord asks clients to reconnect every few hours.
const RECONNECT_S: f64 = 2.0 * 3600.0;
/// How often the gateway takes up a lost session again; otherwise the shard has to identify anew.
const RESUME_PROBABILITY: f64 = 0.92;
/// How often a session is given up after a Resume that got no answer.
const GIVE_UP_PROBABILITY: f64 = 0.15;

impl Fleet {
    /// A process that has been running for long when the simulation begins.
    pub(super) fn boot_running(&mut self, group: Group) {
        self.start_life(group);
        for at in self.shards_of(group) {
            self.enter(at, State::Online);
        }
    }

    /// Starts a process; all its shards want to identify.
    pub(super) fn boot(&mut self, group: Group) {
        if self.process(group).alive {
            return;
        }
        self.start_life(group);
        for at in self.shards_of(group) {
            self.start_session(at);
        }
    }

    fn start_life(&mut self, group: Group) {
        let release = Arc::clone(&self.release);
        let process = self.process_mut(group);
        process.alive = true;
        process.life += 1;
        process.version = release;
        let life = process.life;
        self.after(0.0, CHECK_INTERVAL.as_secs_f64(), Event::Check(group, life));
    }

    /// Sends a health check for every shard of a process, also for those that wait to identify.
    pub(super) fn check(&mut self, group: Group) {
        for at in self.shards_of(group) {
            let bot = &mut self.bots[at.bot];
            bot.shards[at.shard as usize].vitals.wander(&mut self.rng);
            let message = self.message(at);
            self.actions.extend(message.map(Action::Health));
        }
        let life = self.process(group).life;
        self.schedule
            .add(self.now + CHECK_INTERVAL, Event::Check(group, life));
    }

    /// Asks a process to shut down, which takes a moment.
    pub(super) fn stop(&mut self, group: Group) {
        for at in self.shards_of(group) {
            self.enter(at, State::Stopping);
        }
        let life = self.process(group).life;
        self.after(0.5, 2.0, Event::Gone(group, life));
    }

    /// A process has shut down. Whoever asked it to will start it again.
    pub(super) fn gone(&mut self, group: Group) {
        for at in self.shards_of(group) {
            self.enter(at, State::Offline);
        }
        self.end_life(group);
        self.after(1.0, 3.0, Event::Boot(group));
    }

    /// Ends a process at once. It says nothing any more.
    pub(super) fn kill(&mut self, group: Group) {
        self.end_life(group);
        for at in self.shards_of(group) {
            self.set(at, State::Unhealthy);
        }
    }

    fn end_life(&mut self, group: Group) {
        let process = self.process_mut(group);
        process.alive = false;
        process.life += 1;
    }

    /// A shard has no session, and wants one.
    pub(super) fn start_session(&mut self, at: At) {
        self.enter(at, State::Starting);
        self.queue_up(at);
    }

    fn queue_up(&mut self, At { bot, shard }: At) {
        let ticket = self.shard(At { bot, shard }).ticket;
        let turn = self.bots[bot]
            .queues
            .join(Waiting { shard, ticket }, self.now);
        self.plan_turn(bot, turn);
    }

    fn plan_turn(&mut self, bot: usize, turn: Option<(usize, Duration)>) {
        if let Some((key, at)) = turn {
            // Nobody is exactly on time.
            let late = Duration::from_millis(self.rng.random_range(0..300));
            self.schedule.add(at + late, Event::Turn { bot, key });
        }
    }

    /// One rate limit key of a bot may identify.
    pub(super) fn turn(&mut self, bot: usize, key: usize) {
        let now = self.now;
        let it = &mut self.bots[bot];
        if !self.gateway_up {
            it.queues.skip(key);
            return;
        }
        let shards = &it.shards;
        let granted = it.queues.turn(key, now, |waiting| {
            shards[waiting.shard as usize].ticket == waiting.ticket
        });
        if let Some(Waiting { shard, .. }) = granted {
            self.actions.push(Action::Identify(Identify {
                at: now,
                cluster: it.name.clone(),
                shard,
            }));
            self.plan_step(At { bot, shard }, 0.6, 2.5, Step::Ready);
        }
        let next = self.bots[bot].queues.call(key, now);
        self.plan_turn(bot, next);
    }

    /// Arranges a shard's next step, unless its state changes before.
    pub(super) fn plan_step(&mut self, at: At, from: f64, to: f64, step: Step) {
        let ticket = self.shard(at).ticket;
        self.after(from, to, Event::Step(at, ticket, step));
    }

    pub(super) fn step(&mut self, at: At, step: Step) {
        match step {
            Step::Start => self.start_session(at),
            Step::Drop => {
                self.enter(at, State::Resuming);
                let (from, to) = if self.gateway_up {
                    (0.3, 3.0)
                } else {
                    (5.0, 15.0)
                };
                self.plan_step(at, from, to, Step::Resumed);
            }
            Step::Ready if self.gateway_up => {
                self.shard_mut(at).vitals.ready_at = Some(self.now);
                self.enter(at, State::Online);
            }
            Step::Ready => self.queue_up(at),
            Step::Resumed if self.gateway_up => {
                if self.rng.random_bool(RESUME_PROBABILITY) {
                    self.enter(at, State::Online);
                } else {
                    self.start_session(at);
                }
            }
            Step::Resumed if self.rng.random_bool(GIVE_UP_PROBABILITY) => {
                self.enter(at, State::Offline);
            }
            Step::Resumed => self.plan_step(at, 5.0, 10.0, Step::Resumed),
        }
    }

    /// A connection of a bot is lost, as happens now and then.
    pub(super) fn reconnect(&mut self, bot: usize) {
        let shard = self.rng.random_range(0..self.bots[bot].total);
        let at = At { bot, shard };
        if self.gateway_up && self.shard(at).state == State::Online {
            self.step(at, Step::Drop);
        }
        self.plan_reconnect(bot);
    }

    /// Connections are lost independently of each other: the times between have an exponential distribution.
    pub(super) fn plan_reconnect(&mut self, bot: usize) {
        let mean_s = RECONNECT_S / f64::from(self.bots[bot].total);
        let delay_s = -mean_s * (1.0 - self.rng.random::<f64>()).ln();
        let at = self.now + Duration::from_secs_f64(delay_s);
        self.schedule.add(at, Event::Reconnect { bot });
    }

    /// Discord's gateway drops all connections, one after the other, and takes none.
    pub(super) fn lose_gateway(&mut self) {
        self.gateway_up = false;
        for at in self.all_in(State::Online) {
            self.plan_step(at, 0.0, 4.0, Step::Drop);
        }
    }

    /// Discord's gateway takes connections again.
    pub(super) fn regain_gateway(&mut self) {
        self.gateway_up = true;
        for at in self.all_in(State::Resuming) {
            self.plan_step(at, 0.0, 6.0, Step::Resumed);
        }
        for at in self.all_in(State::Offline) {
            self.plan_step(at, 0.0, 5.0, Step::Start);
        }
        self.plan_all_turns();
    }

    /// Arranges the turns that did not take place while the gateway was down.
    fn plan_all_turns(&mut self) {
        for bot in 0..self.bots.len() {
            for key in 0..self.bots[bot].queues.key_count() {
                let turn = self.bots[bot].queues.call(key, self.now);
                self.plan_turn(bot, turn);
            }
        }
    }

    /// The shards of living processes that are in a state.
    fn all_in(&self, state: State) -> Vec<At> {
        self.all_groups()
            .into_iter()
            .filter(|group| self.process(*group).alive)
            .flat_map(|group| self.shards_of(group))
            .filter(|at| self.shard(*at).state == state)
            .collect()
    }

    /// A shard enters a state, and its process says so.
    pub(super) fn enter(&mut self, at: At, state: State) {
        self.set(at, state);
        let message = self.message(at);
        self.actions.extend(message.map(Action::Report));
    }

    fn set(&mut self, at: At, state: State) {
        self.counts.remove(self.shard(at).state);
        self.counts.add(state);
        let shard = self.shard_mut(at);
        shard.state = state;
        shard.ticket = shard.ticket.wrapping_add(1);
        // Every other connection is a new one, and works.
        shard.vitals.zombie = false;
    }

    /// What a shard's process says of it now. `None` does not happen: a configured shard has a valid id.
    fn message(&mut self, at: At) -> Option<Message> {
        let bot = &self.bots[at.bot];
        let shard = &bot.shards[at.shard as usize];
        let process = &bot.processes[bot.group_of(at.shard)];
        let mut details = shard.vitals.details(shard.state, self.now, &mut self.rng);
        details.total = Some(bot.total);
        details.group = Some(Arc::clone(&process.group));
        details.version = Some(Arc::clone(&process.version));
        Some(Message {
            at: self.now,
            cluster: bot.name.clone(),
            shard: ShardId::new(at.shard).ok()?,
            state: shard.state,
            details,
        })
    }

    pub(super) fn shards_of(
        &self,
        Group { bot, group }: Group,
    ) -> impl Iterator<Item = At> + use<> {
        self.bots[bot]
            .shards_of(group)
            .map(move |shard| At { bot, shard })
    }
}
