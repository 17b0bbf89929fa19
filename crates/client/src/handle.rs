//! The client for any thread and any executor.

use crate::cluster::Cluster;
use crate::core::{PutRequest, ValueInfo, When};
use crate::stats::Stats;
use crate::{ConnectError, Error, LocalClient, Options, Version};
use futures_channel::{mpsc, oneshot};
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

/// A client for any thread and any executor: `Send + Sync + Clone`. Owner threads do the work; a key always goes to the
/// same one, so its remembered slot is found again.
#[derive(Clone)]
pub struct Client(Arc<Owners>);

struct Owners {
    inboxes: Vec<mpsc::UnboundedSender<Work>>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    cluster: Cluster,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Work = Box<dyn FnOnce(LocalClient) -> Task + Send>;

/// A value with what is known of it.
pub type Owned = (Vec<u8>, ValueInfo);

impl Client {
    pub(crate) fn start(cluster: &Cluster, options: &Options) -> Result<Client, ConnectError> {
        let mut inboxes = Vec::new();
        let mut threads = Vec::new();
        for i in 0..options.threads.max(1) {
            let (sender, inbox) = mpsc::unbounded();
            let (ready, is_ready) = std::sync::mpsc::channel();
            let (cluster, options) = (cluster.clone(), options.clone());
            let own = move || match cluster.local_client(&options) {
                Ok(client) => {
                    let _ = ready.send(Ok(()));
                    client.block_on(serve(client.clone(), inbox));
                }
                Err(e) => drop(ready.send(Err(e))),
            };
            let thread = std::thread::Builder::new().name(format!("farrow-client-{i}")).spawn(own);
            threads.push(thread.map_err(|e| ConnectError::Local(e.to_string()))?);
            is_ready.recv().map_err(|_| ConnectError::Local("an owner thread died".into()))??;
            inboxes.push(sender);
        }
        Ok(Client(Arc::new(Owners { inboxes, threads: Mutex::new(threads), cluster: cluster.clone() })))
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    fn owner_of(&self, key: &[u8]) -> usize {
        let hash = farrow_layout::KeyHash::of(key).raw() as u64;
        (hash % self.0.inboxes.len() as u64) as usize
    }

    /// Has an owner thread do something; the future ends when it has.
    async fn ask<T: Send + 'static, O: Future<Output = T> + 'static>(
        &self,
        owner: usize,
        work: impl FnOnce(LocalClient) -> O + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |client| {
            let operation = work(client);
            Box::pin(async move {
                // Nobody may wait for it any more: the operation runs to its end all the same.
                let _ = reply.send(operation.await);
            })
        });
        self.0.inboxes[owner].unbounded_send(work).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)
    }

    /// The value of `key`, or `None` if it is not there.
    ///
    /// # Errors
    /// As [`crate::Core::get`].
    pub async fn get(&self, key: impl Into<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.get_with_info(key).await?.map(|(value, _)| value))
    }

    /// As [`Client::get`], with version and flags.
    ///
    /// # Errors
    /// As [`crate::Core::get`].
    pub async fn get_with_info(&self, key: impl Into<Vec<u8>>) -> Result<Option<Owned>, Error> {
        let key = key.into();
        self.ask(self.owner_of(&key), move |client| async move {
            let value = client.get(&key).await?;
            Ok(value.map(|v| (v.to_vec(), ValueInfo::of(&v))))
        })
        .await?
    }

    /// The version of `key`'s value, or `None` if it is not there.
    ///
    /// # Errors
    /// As [`crate::Core::exists`].
    pub async fn exists(&self, key: impl Into<Vec<u8>>) -> Result<Option<Version>, Error> {
        let key = key.into();
        self.ask(self.owner_of(&key), move |client| async move { client.exists(&key).await }).await?
    }

    /// Puts `value` under `key`.
    ///
    /// # Errors
    /// As [`crate::Core::put`].
    pub async fn put(&self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<Version, Error> {
        self.put_when(key, value, When::Always).await
    }

    /// Puts `value` if `key` is not there.
    ///
    /// # Errors
    /// As [`crate::Core::put_with`].
    pub async fn put_if_absent(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<Version, Error> {
        self.put_when(key, value, When::Absent).await
    }

    /// Puts `value` if `key` is there.
    ///
    /// # Errors
    /// As [`crate::Core::put_with`].
    pub async fn put_if_present(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> Result<Version, Error> {
        self.put_when(key, value, When::Present).await
    }

    /// Puts `value` if `key` has this very version.
    ///
    /// # Errors
    /// As [`crate::Core::put_with`].
    pub async fn put_if_version(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        version: Version,
    ) -> Result<Version, Error> {
        self.put_when(key, value, When::Version(version)).await
    }

    /// Puts `value` when a condition holds.
    ///
    /// # Errors
    /// As [`crate::Core::put_with`].
    pub async fn put_when(
        &self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        when: When,
    ) -> Result<Version, Error> {
        let (key, value) = (key.into(), value.into());
        self.ask(self.owner_of(&key), move |client| async move {
            client.put_with(&PutRequest::new(&key, &value).when(when)).await
        })
        .await?
    }

    /// Removes `key`; whether it was there.
    ///
    /// # Errors
    /// As [`crate::Core::delete`].
    pub async fn delete(&self, key: impl Into<Vec<u8>>) -> Result<bool, Error> {
        let key = key.into();
        self.ask(self.owner_of(&key), move |client| async move { client.delete(&key).await }).await?
    }

    /// Removes `key` only as this very version.
    ///
    /// # Errors
    /// As [`crate::Core::delete_version`].
    pub async fn delete_version(&self, key: impl Into<Vec<u8>>, version: Version) -> Result<(), Error> {
        let key = key.into();
        self.ask(self.owner_of(&key), move |client| async move { client.delete_version(&key, version).await })
            .await?
    }

    /// Many GETs at once: a result for each key, in order.
    pub async fn get_many(&self, keys: Vec<Vec<u8>>) -> Vec<Result<Option<Vec<u8>>, Error>> {
        self.spread(keys, Vec::as_slice, |client, keys| async move {
            let values = client.get_many(&keys).await;
            values.into_iter().map(|r| r.map(|v| v.map(|v| v.to_vec()))).collect()
        })
        .await
    }

    /// Many PUTs at once: a result for each, in order.
    pub async fn put_many(&self, pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Result<Version, Error>> {
        self.spread(
            pairs,
            |(key, _)| key,
            |client, pairs| async move {
                let requests: Vec<_> = pairs.iter().map(|(k, v)| PutRequest::new(k, v)).collect();
                client.put_many(&requests).await
            },
        )
        .await
    }

    /// Many DELETEs at once: a result for each key, in order.
    pub async fn delete_many(&self, keys: Vec<Vec<u8>>) -> Vec<Result<bool, Error>> {
        self.spread(keys, Vec::as_slice, |client, keys| async move { client.delete_many(&keys).await }).await
    }

    /// Gives each owner its part of a batch, all at the same time, and puts the results back in order.
    async fn spread<
        I: Send + 'static,
        T: Send + 'static,
        O: Future<Output = Vec<Result<T, Error>>> + 'static,
    >(
        &self,
        items: Vec<I>,
        key: impl Fn(&I) -> &[u8],
        work: impl FnOnce(LocalClient, Vec<I>) -> O + Clone + Send + 'static,
    ) -> Vec<Result<T, Error>> {
        let count = items.len();
        let mut parts: Vec<(Vec<usize>, Vec<I>)> =
            self.0.inboxes.iter().map(|_| (Vec::new(), Vec::new())).collect();
        for (i, item) in items.into_iter().enumerate() {
            let (places, part) = &mut parts[self.owner_of(key(&item))];
            places.push(i);
            part.push(item);
        }
        let asked = parts.into_iter().enumerate().filter(|(_, (places, _))| !places.is_empty());
        let asked: Vec<_> = asked
            .map(|(owner, (places, part))| {
                let work = work.clone();
                Box::pin(async move { (places, self.ask(owner, move |client| work(client, part)).await) })
            })
            .collect();
        let mut results: Vec<Result<T, Error>> = (0..count).map(|_| Err(Error::Closed)).collect();
        for (places, answers) in farrow_fabric::join_all(asked).await {
            if let Ok(answers) = answers {
                for (place, answer) in places.into_iter().zip(answers) {
                    results[place] = answer;
                }
            }
        }
        results
    }

    /// What the owner threads have done, together. Nodes are told of dead bytes first, so that their statistics agree.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn stats(&self) -> Result<Stats, Error> {
        let mut all = Stats::default();
        for owner in 0..self.0.inboxes.len() {
            let stats = self.ask(owner, |client| async move {
                client.tell_dead_bytes().await;
                client.stats()
            });
            all.add(&stats.await?);
        }
        Ok(all)
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        self.inboxes.clear();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.join().is_err() {
                tracing::error!("an owner thread panicked");
            }
        }
    }
}

/// An owner thread: takes work as it comes and runs all of it at the same time, until the last handle is gone and the
/// last operation has ended.
async fn serve(client: LocalClient, mut inbox: mpsc::UnboundedReceiver<Work>) {
    let mut tasks: Vec<Task> = Vec::new();
    let mut is_open = true;
    poll_fn(move |cx| {
        loop {
            // Until it has nothing left: only then does it wake us for the next.
            while is_open {
                match Pin::new(&mut inbox).poll_next(cx) {
                    Poll::Ready(Some(work)) => tasks.push(work(client.clone())),
                    Poll::Ready(None) => is_open = false,
                    Poll::Pending => break,
                }
            }
            let before = tasks.len();
            tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            if !is_open && tasks.is_empty() {
                return Poll::Ready(());
            }
            if before == tasks.len() {
                return Poll::Pending;
            }
        }
    })
    .await;
}
