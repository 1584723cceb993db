//! `--watch`: asks again and again, and shows what it brings: in place on a terminal, and elsewhere whenever it has changed.
//! It leaves asking to the commands.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use chrono::Local;
use clap::Args;

use crate::{
    failure::{Exit, Failure},
    interrupted,
    output::note,
    session::Session,
    values,
};

/// Where nobody says how high the terminal is.
const HEIGHT: usize = 24;

/// Whether a command goes on.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// Ask again every 2 seconds, or as often as this says, ten times a second at most, until Ctrl-C: a terminal shows the newest answer in place, and
    /// elsewhere an answer is printed when it differs from the one before
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = interval)]
    watch: Option<Duration>,
}

/// Whoever asks oftener than a person can read puts a load on the service, which is what `stead bench` is for.
fn interval(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_millis(100);
    let interval = values::duration(text)?;
    if interval < LEAST { Err("ask ten times a second at most: 100ms or longer".to_owned()) } else { Ok(interval) }
}

impl Watch {
    /// Prints once, or until Ctrl-C. What `print` prints it has to ask for.
    pub(crate) async fn over<F>(self, session: &mut Session, mut print: F) -> Result<(), Failure>
    where
        F: AsyncFnMut(&mut Session) -> Result<(), Failure>,
    {
        let Some(every) = self.watch else { return print(session).await };
        let is_terminal = io::stdout().is_terminal();
        if is_terminal {
            show("\x1b[2J")?;
        }
        let ended = tokio::select! {
            ended = repeat(session, &mut print, every, is_terminal) => ended,
            () = interrupted() => Ok(()),
        };
        session.output.keep(false);
        ended
    }
}

async fn repeat<F>(session: &mut Session, print: &mut F, every: Duration, is_terminal: bool) -> Result<(), Failure>
where
    F: AsyncFnMut(&mut Session) -> Result<(), Failure>,
{
    let (mut shown, mut is_out) = (None, false);
    loop {
        session.output.keep(true);
        let asked = print(session).await;
        let answer = session.output.kept();
        match asked {
            Ok(()) => {
                if is_out && !is_terminal {
                    note(&format!("{} answered again", now()));
                }
                is_out = false;
                if is_terminal {
                    show(&screen(&answer, &format!("{}, every {every:?}: Ctrl-C ends", now()), height()))?;
                } else if shown.as_ref() != Some(&answer) {
                    show(&answer)?;
                }
                shown = Some(answer);
            }
            Err(failure) if failure.exit() == Exit::Unavailable => {
                let words = format!("{} no answer, asking again: {}", now(), failure.words());
                if is_terminal {
                    show(&screen(shown.as_deref().unwrap_or_default(), &words, height()))?;
                } else if !is_out {
                    note(&words);
                }
                is_out = true;
            }
            // What a repeat would bring again.
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(every).await;
    }
}

/// What a terminal shows in place: as much of the answer as there is room for, and a word below it. Every line is written over
/// the one before, so that nothing flickers and nothing that scrolled away is lost.
fn screen(answer: &str, below: &str, height: usize) -> String {
    let (lines, below): (Vec<_>, Vec<_>) = (answer.lines().collect(), below.lines().collect());
    let room = height.saturating_sub(below.len() + 2).max(1);
    let mut screen = "\x1b[H".to_owned();
    let mut line = |text: &str| screen += &format!("{text}\x1b[K\n");
    lines.iter().take(room).for_each(|text| line(text));
    match lines.len().saturating_sub(room) {
        0 => line(""),
        more => line(&format!("… and {more} lines more")),
    }
    below.iter().for_each(|text| line(text));
    screen + "\x1b[J"
}

fn height() -> usize {
    terminal_size::terminal_size().map_or(HEIGHT, |(_, height)| height.0.into())
}

fn show(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|fault| Failure::io("cannot write the output", &fault))
}

fn now() -> String {
    Local::now().format("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_written_over_and_never_higher_than_the_terminal() {
        assert_eq!(screen("a\nb\n", "now", 24), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[K\nnow\x1b[K\n\x1b[J");
        let long = "row\n".repeat(100);
        for height in [6, 10, 24] {
            let screen = screen(&long, "now\nand why", height);
            assert!(screen.lines().count() <= height && screen.contains("lines more"), "{height}: {screen:?}");
            assert!(screen.contains("and why") && !screen.contains("\x1b[3J"), "{screen:?}");
        }
    }

    #[test]
    fn nobody_is_asked_oftener_than_ten_times_a_second() {
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert!(interval("100ms").is_ok() && interval("99ms").is_err() && interval("soon").is_err());
    }
}
