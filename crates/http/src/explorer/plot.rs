use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use app_audit::{Plot, Step};
use chrono::{DateTime, Utc};

/// Draws visits over time, with a table of the same numbers
///
/// A screen reader gets title and description of the picture, and the table. Colours come from the
/// style sheet, and denials are drawn above the others, so colour alone says nothing.
pub(super) fn draw(plot: &Plot, html: &mut String) {
    let (Some(first), Some(last)) = (plot.steps.first(), plot.steps.last()) else { return };
    let length = plot.length.as_secs().max(1);
    let seconds = |step: &Step| step.start.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let begin = seconds(first);
    // A few steps are drawn as bars, and not as blocks.
    let count = ((seconds(last) - begin) / length + 1).max(FEWEST);
    let highest = plot.steps.iter().map(|step| step.visits).max().unwrap_or_default().max(1);
    let visits: u64 = plot.steps.iter().map(|step| step.visits).sum();
    let denials: u64 = plot.steps.iter().map(|step| step.denials).sum();
    let step_name = name(plot.length);
    let from = shown(first.start, plot.length);
    let to = shown(first.start + Duration::from_secs(count * length), plot.length);
    let _ = write!(
        html,
        "<figure class=\"plot\">\n<figcaption><span>{}, <span class=\"bad\">{} denied</span>, \
         in steps of {step_name}</span><span class=\"key\"><i class=\"allowed\"></i>Allowed \
         <i class=\"denied\"></i>Denied</span></figcaption>\n\
         <svg role=\"img\" aria-labelledby=\"plot-title plot-text\" \
         viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=\"none\">\n\
         <title id=\"plot-title\">Visits over time</title>\n\
         <desc id=\"plot-text\">{visits} visits from {from} to {to} UTC, {denials} of them denied. \
         At most {highest} in {step_name}. A table with the numbers follows.</desc>\n",
        counted(visits),
        number(denials),
        count * WIDTH,
    );
    for step in &plot.steps {
        let x = (seconds(step) - begin) / length * WIDTH;
        let allowed = step.visits - step.denials;
        let of_allowed = height(allowed, highest);
        let of_denied = height(step.denials, highest);
        let _ = write!(
            html,
            "<g><title>{}: {}, {} denied</title>",
            shown(step.start, plot.length),
            counted(step.visits),
            number(step.denials)
        );
        for (class, height, above) in
            [("allowed", of_allowed, 0), ("denied", of_denied, of_allowed)]
        {
            if height > 0 {
                let y = HEIGHT.saturating_sub(height + above);
                let width = WIDTH - GAP;
                let _ = write!(
                    html,
                    "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" \
                     height=\"{height}\"/>"
                );
            }
        }
        html.push_str("</g>\n");
    }
    let _ = write!(
        html,
        "</svg>\n<p class=\"axis\"><span>{from}</span><span>at most {} in {step_name}</span>\
         <span>{to}</span></p>\n",
        number(highest)
    );
    if let Some(since) = plot.since.filter(|_| plot.is_cut) {
        let _ = writeln!(
            html,
            "<p class=\"note\">The plot counts back to {} UTC, and no further. To plot earlier \
             visits, set an end.</p>",
            DateTime::<Utc>::from(since).format("%F %T")
        );
    }
    html.push_str(
        "<details><summary>Numbers</summary>\n<table class=\"numbers\">\n\
         <thead><tr><th scope=\"col\">Begin, UTC</th><th scope=\"col\">Visits</th>\
         <th scope=\"col\">Denied</th></tr></thead>\n<tbody>\n",
    );
    for step in plot.steps.iter().rev() {
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            shown(step.start, plot.length),
            step.visits,
            step.denials
        );
    }
    html.push_str("</tbody>\n</table>\n</details>\n</figure>\n");
}

/// The height of so many visits; what there is can be seen
fn height(visits: u64, highest: u64) -> u64 {
    match visits {
        0 => 0,
        visits => (visits.saturating_mul(HEIGHT) / highest).max(2),
    }
}

fn shown(time: SystemTime, length: Duration) -> String {
    let form = if length >= DAY { "%F" } else { "%F %H:%M" };
    DateTime::<Utc>::from(time).format(form).to_string()
}

/// A length of a step in words
fn name(length: Duration) -> String {
    let seconds = length.as_secs();
    let units = [(86_400 * 365, "year"), (86_400, "day"), (3_600, "hour"), (60, "minute")];
    let unit =
        units.into_iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit));
    match unit {
        Some((unit, "hour")) if seconds == unit => "an hour".to_owned(),
        Some((unit, name)) if seconds == unit => format!("a {name}"),
        Some((unit, name)) => format!("{} {name}s", seconds / unit),
        None => format!("{seconds} seconds"),
    }
}

fn counted(visits: u64) -> String {
    let plural = if visits == 1 { "" } else { "s" };
    format!("{} visit{plural}", number(visits))
}

/// A number with its thousands apart
fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

const HEIGHT: u64 = 100;
const WIDTH: u64 = 10;
const GAP: u64 = 2;
const FEWEST: u64 = 24;
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_a_bar_for_each_kind_of_each_step_and_a_table() {
        let step = |n: u64, visits, denials| Step {
            start: UNIX_EPOCH + Duration::from_secs(3_600 * n),
            visits,
            denials,
        };
        let plot = Plot {
            length: Duration::from_secs(3_600),
            steps: vec![step(1, 100_000, 1), step(4, 3, 3), step(5, 1, 0)],
            since: Some(UNIX_EPOCH),
            is_cut: true,
        };
        let mut html = String::new();
        draw(&plot, &mut html);
        assert_eq!(html.matches("<rect").count(), 4, "{html}");
        assert!(html.contains("viewBox=\"0 0 240 100\""), "a day: {html}");
        // One of many is seen too.
        let bar = "<rect class=\"denied\" x=\"0\" y=\"0\" width=\"8\" height=\"2\"/>";
        assert!(html.contains(bar), "{html}");
        for part in [
            "100,004 visits",
            "4 denied",
            "in steps of an hour",
            "<desc",
            "counts back to",
            "1970-01-01 04:00",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        let mut empty = String::new();
        draw(&Plot::default(), &mut empty);
        assert_eq!(empty, "");
    }

    #[test]
    fn every_length_has_a_name() {
        for (seconds, expected) in [
            (60, "a minute"),
            (300, "5 minutes"),
            (3_600, "an hour"),
            (10_800, "3 hours"),
            (86_400, "a day"),
            (604_800, "7 days"),
        ] {
            assert_eq!(name(Duration::from_secs(seconds)), expected);
        }
        for length in Plot::LENGTHS {
            assert!(!name(Duration::from_secs(length.into())).is_empty());
        }
    }
}
