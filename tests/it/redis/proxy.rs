//! A connection that can be cut: behind a number of requests that the server still gets, and before their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::place;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    /// Answers to requests with this word are lost, so often.
    lost: Arc<AtomicUsize>,
    cuts: Arc<AtomicUsize>,
    _all: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(place::any()).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (lost, cuts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut all = JoinSet::new();
        let counters = (lost.clone(), cuts.clone());
        all.spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (lost, cuts) = counters.clone();
                streams.spawn(async move { carry(client, server, &lost, &cuts).await.unwrap_or_default() });
            }
        });
        Self { port, lost, cuts, _all: all }
    }

    /// The next answers to scripts never arrive: the connection ends instead.
    pub(crate) fn lose(&self, answers: usize) {
        self.lost.store(answers, Ordering::SeqCst);
    }

    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

fn is_script(request: &[u8]) -> bool {
    request.windows(7).any(|word| word == b"EVALSHA")
}

async fn carry(mut client: TcpStream, server: u16, lost: &AtomicUsize, cuts: &AtomicUsize) -> std::io::Result<()> {
    let mut server = TcpStream::connect((place::own(), server)).await?;
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut last_was_script = false;
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let read = read?;
                if read == 0 { return Ok(()); }
                last_was_script = is_script(&request[..read]);
                server.write_all(&request[..read]).await?;
            }
            read = server.read(&mut answer) => {
                let read = read?;
                if read == 0 { return Ok(()); }
                let unknown_script = answer.starts_with(b"-NOSCRIPT");
                let is_cut = last_was_script && !unknown_script
                    && lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                if is_cut {
                    cuts.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                client.write_all(&answer[..read]).await?;
            }
        }
    }
}
