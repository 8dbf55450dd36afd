//! The clients of a trial of the caches: many of them, on a few hot keys, at the balancer and at each gateway. Whatever is acknowledged is
//! read at once, at every place, by readers who are told of it.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::{join_all, join3};
use futures_util::{StreamExt, stream};
use protocol::api::Priority;
use protocol::envelope::Covered;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};

use super::keys::Keys;
use super::{Owed, Write};
use crate::chaos::errands::{Errand, Manner, Then, Work};
use crate::chaos::history::Fate;
use crate::chaos::traffic::Client;

const KEYS: usize = 6;
/// A reader that is told nothing for so long reads any key.
const READ_EVERY: Duration = Duration::from_millis(20);
/// A reader that waits for an answer reads on meanwhile, so that it may overtake itself.
const READS_AT_ONCE: usize = 64;
const PAUSE_MS: (u64, u64) = (20, 120);
/// What a reader that is busy is told is remembered; beyond that it has missed it.
const TOLD_MAX: usize = 32;
/// So many clients void by jobs.
const VOIDING_BY_JOBS: usize = 3;
/// A tag that nothing in the trial has: voiding it must be answered like anything else.
const TAG: &str = "chaos-tag";

pub(in crate::chaos) fn keys() -> Keys {
    Keys::new("hot", KEYS)
}

/// What all of its clients share.
#[derive(Debug)]
pub(in crate::chaos) struct Hot<'a> {
    keys: &'a Keys,
    /// One for each reader, of whom there is one at each place.
    readers: Vec<Sender<String>>,
    told: Vec<Receiver<String>>,
}

impl<'a> Hot<'a> {
    pub(in crate::chaos) fn new(keys: &'a Keys, places: usize) -> Self {
        let (readers, told) = (0..places).map(|_| channel(TOLD_MAX)).unzip();
        Self { keys, readers, told }
    }

    /// For ever: at each of these places a writer, an invalidator and a reader.
    pub(in crate::chaos) async fn work(self, places: &[&Client<'_>]) {
        let Self { keys, readers, told } = self;
        let crowd = |client| Crowd { keys, readers: &readers, client };
        let writers = (0_u64..).zip(places).map(async |(number, client)| crowd(client).write(number).await);
        let voiders = (100_u64..).zip(places).map(async |(number, client)| crowd(client).void(number).await);
        let readers = (200_u64..).zip(places).zip(told);
        let reading = readers.map(async |((number, client), told)| crowd(client).read(told, number).await);
        join3(join_all(writers), join_all(voiders), join_all(reading)).await;
    }
}

/// One of the clients.
#[derive(Clone, Copy, Debug)]
struct Crowd<'a> {
    keys: &'a Keys,
    readers: &'a [Sender<String>],
    client: &'a Client<'a>,
}

impl Crowd<'_> {
    fn random(&self, number: u64) -> SmallRng {
        SmallRng::seed_from_u64(self.client.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn draw(&self, random: &mut SmallRng) -> String {
        self.keys.get(random.random_range(0..self.keys.len()))
    }

    async fn write(self, number: u64) {
        let mut random = self.random(number);
        loop {
            self.keys.calm_is_over().await;
            let key = self.draw(&mut random);
            let mut write = Write::put(key);
            match random.random_range(0..100) {
                0..55 => {}
                55..75 => write.waits = false,
                75..90 => {
                    let found = self.client.read(&write.key, self.keys.owed(&write.key)).await;
                    write.only_if = found.map(|found| found.tag).filter(|tag| !tag.is_empty());
                }
                _ => write.removes = true,
            }
            let fate = self.client.write_known(self.keys, &write).await;
            match fate {
                Fate::Acknowledged { .. } => self.tell(&write.key),
                Fate::Durable { .. } if random.random_bool(0.5) => {
                    let covered = self.covering(&write.key, &mut random);
                    self.void_and_tell(covered, &write.key).await;
                }
                _ => {}
            }
            pause(&mut random).await;
        }
    }

    /// One of the ways to void it.
    fn covering(&self, key: &str, random: &mut SmallRng) -> Covered {
        match random.random_range(0..10) {
            0..6 => Covered::key(key),
            6..8 => Covered { keys: vec![key.to_owned(), self.draw(random)], ..Covered::default() },
            8 => Covered { prefix: Some(self.keys.prefix()), ..Covered::default() },
            _ => Covered { all: true, ..Covered::default() },
        }
    }

    async fn void(self, number: u64) {
        let mut random = self.random(number);
        loop {
            self.keys.calm_is_over().await;
            let key = self.draw(&mut random);
            let mut covered = self.covering(&key, &mut random);
            if random.random_bool(0.2) {
                covered.tags = vec![TAG.to_owned()];
            }
            self.void_and_tell(covered, &key).await;
            pause(&mut random).await;
        }
    }

    async fn void_and_tell(&self, covered: Covered, key: &str) {
        if self.client.void(covered).await {
            self.tell(key);
        }
    }

    async fn read(self, told: Receiver<String>, number: u64) {
        let wanted = stream::unfold((told, self.random(number)), async |(mut told, mut random)| {
            let key = timeout(READ_EVERY, told.recv()).await.ok().flatten();
            let key = key.unwrap_or_else(|| self.draw(&mut random));
            let owed = self.keys.owed(&key).filter(|_| random.random_bool(0.4));
            Some(((key, owed), (told, random)))
        });
        let read = async |(key, owed): (String, Option<Owed>)| drop(self.client.read(&key, owed).await);
        wanted.for_each_concurrent(READS_AT_ONCE, read).await;
    }

    fn tell(&self, key: &str) {
        for reader in self.readers {
            // One that has not come to its earlier news reads something else.
            reader.try_send(key.to_owned()).ok();
        }
    }
}

async fn pause(random: &mut SmallRng) {
    sleep(Duration::from_millis(random.random_range(PAUSE_MS.0..=PAUSE_MS.1))).await;
}

impl Client<'_> {
    /// A write whose key is given up when nobody can tell what may still be missing under it, and which is owed to who has its token.
    async fn write_known(&self, keys: &Keys, write: &Write) -> Fate {
        let written = self.write(write).await;
        if written.fate == Fate::Unknown && write.removes {
            keys.give_up(&write.key);
        }
        if let (Some(version), Some(token)) = (written.fate.version(), written.token) {
            keys.owe(&write.key, Owed { version, token });
        }
        written.fate
    }

    /// Whether nothing is to be written or voided for now, but by the jobs of the plan.
    pub(in crate::chaos) fn keep_calm(&self, calm: bool) {
        if let Some(keys) = self.keys {
            keys.calm.set(calm);
        }
    }

    /// Several clients write without waiting, then have a job void the key, and follow it: until they are told that no more jobs are wanted.
    pub(in crate::chaos) async fn void_by_jobs(&self, keys: &Keys, no_more: &Cell<bool>) {
        join_all((0..VOIDING_BY_JOBS).map(|number| self.void_by_job(keys, no_more, number))).await;
    }

    async fn void_by_job(&self, keys: &Keys, no_more: &Cell<bool>, number: usize) {
        let mut random = SmallRng::seed_from_u64(!self.seed ^ number as u64);
        while !no_more.get() {
            keys.calm_is_over().await;
            let key = keys.get(random.random_range(0..keys.len()));
            let write = Write { waits: false, ..Write::put(key.clone()) };
            if self.write_known(keys, &write).await.version().is_some() {
                let number = self.numbers.submit();
                let (work, manner, then) = (Work::Invalidating, Manner::Once, Then::Watch);
                let errand = Errand { number, work, priority: Priority::High, manner, then };
                self.run_voiding(errand, &[key]).await;
            }
            pause(&mut random).await;
        }
    }
}
