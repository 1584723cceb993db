//! A way into the server's own connections to PostgreSQL: what stands between the two can say something on each of them while
//! nothing is under way, as a pooler between them might, and nobody on either side hears of it.
//! Leaves delays and cuts to the harness's proxy, and what is said to the promises.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use sqlx::postgres::PgConnectOptions;
use stead_harness::{Database, Role};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// The name of PostgreSQL's socket in its directory.
const SOCKET: &str = ".s.PGSQL.5432";
/// What PostgreSQL says when it waits for the next statement outside a transaction.
const IDLE: u8 = b'I';

/// Something to say, and where to tell that it was said.
type Order = (String, oneshot::Sender<()>);

/// What stands between a server and its PostgreSQL.
#[derive(Debug)]
pub(super) struct Backend {
    dir: TempDir,
    lines: Arc<Mutex<Vec<mpsc::Sender<Order>>>>,
    accepting: JoinHandle<()>,
}

impl Backend {
    pub(super) async fn of(database: &Database) -> Self {
        let options: PgConnectOptions = database.url(Role::App).parse().expect("a URL");
        let upstream = options.get_socket().expect("a socket").join(SOCKET);
        let dir = tempfile::Builder::new().prefix("stead-backend-").tempdir_in("/tmp").expect("a directory");
        let listener = UnixListener::bind(dir.path().join(SOCKET)).expect("a socket");
        let lines = Arc::default();
        let accepting = tokio::spawn(accept(listener, upstream, Arc::clone(&lines)));
        Self { dir, lines, accepting }
    }

    /// The database's URL by this way.
    pub(super) fn url(&self, database: &Database, role: Role) -> String {
        let plain = database.url(role);
        let options: PgConnectOptions = plain.parse().expect("a URL");
        let direct = options.get_socket().expect("a socket").to_string_lossy().into_owned();
        plain.replace(&direct, &self.dir.path().to_string_lossy())
    }

    /// Says this on every connection that is open, each as soon as nothing is under way there; tells on how many.
    pub(super) async fn say(&self, statement: &str) -> u64 {
        let lines = self.lines.lock().expect("the lines").clone();
        let mut said = 0;
        for line in lines {
            let (told, heard) = oneshot::channel();
            let given = line.send((statement.to_owned(), told)).await.is_ok();
            said += u64::from(given && heard.await.is_ok());
        }
        said
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, upstream: PathBuf, lines: Arc<Mutex<Vec<mpsc::Sender<Order>>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let (sender, orders) = mpsc::channel(1);
        let mut lines = lines.lock().expect("the lines");
        lines.retain(|line| !line.is_closed());
        lines.push(sender);
        drop(lines);
        let upstream = upstream.clone();
        tokio::spawn(async move { carry(client, &upstream, orders).await });
    }
}

/// Carries both ways until either side has gone.
async fn carry(mut client: UnixStream, upstream: &Path, mut orders: mpsc::Receiver<Order>) -> io::Result<()> {
    let mut server = UnixStream::connect(upstream).await?;
    let (mut asked, mut told) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut frames = Frames::default();
    loop {
        tokio::select! {
            biased;
            count = server.read(&mut told) => {
                let count = count?;
                if count == 0 {
                    return Ok(());
                }
                frames.read(&told[..count]);
                client.write_all(&told[..count]).await?;
            }
            count = client.read(&mut asked) => {
                let count = count?;
                if count == 0 {
                    return Ok(());
                }
                frames.rests = false;
                server.write_all(&asked[..count]).await?;
            }
            order = orders.recv(), if frames.rests => {
                let Some((statement, told)) = order else { return Ok(()) };
                say(&mut server, &statement).await?;
                let _nobody_waits = told.send(());
            }
        }
    }
}

/// Says a statement by the simple protocol and keeps the answer to itself.
async fn say(server: &mut UnixStream, statement: &str) -> io::Result<()> {
    let mut message = vec![b'Q'];
    message.extend((statement.len() as i32 + 5).to_be_bytes());
    message.extend(statement.as_bytes());
    message.push(0);
    server.write_all(&message).await?;
    let (mut frames, mut answer) = (Frames::default(), vec![]);
    while !frames.rests {
        let mut piece = [0; 1];
        server.read_exact(&mut piece).await?;
        answer.push(piece[0]);
        frames.read(&piece);
    }
    assert!(answer.first() != Some(&b'E'), "PostgreSQL refused: {statement}");
    Ok(())
}

/// PostgreSQL's answers, cut into messages: whether the last of them said that it rests.
#[derive(Debug, Default)]
struct Frames {
    head: Vec<u8>,
    left: usize,
    rests: bool,
}

impl Frames {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            // The kind, four bytes of length, and of a ReadyForQuery the state that is its whole body.
            if self.left == 0 {
                self.head.push(*byte);
                if self.head.len() == 5 {
                    let length = u32::from_be_bytes([self.head[1], self.head[2], self.head[3], self.head[4]]) as usize;
                    self.left = length.saturating_sub(4);
                }
            } else {
                self.left -= 1;
            }
            let is_over = self.head.len() == 5 && self.left == 0;
            self.rests = is_over && self.head[0] == b'Z' && *byte == IDLE;
            if is_over {
                self.head.clear();
            }
        }
    }
}
