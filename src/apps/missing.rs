//! A number of the dialplan whose feature this version does not have: refused with 501 and a reason a person can read.

use crate::base::cause::Cause;
use crate::directory::plan::Place;
use crate::engine::app::{Action, App, AppEvent, Cx, Next};

pub struct Missing {
    pub place: Place,
}

impl App for Missing {
    fn on(&mut self, cx: &mut Cx<'_>, _event: &AppEvent) -> Next {
        let text = format!("{} ({}) is not available in this version", cx.dialled, self.place.text());
        cx.ask(Action::Explain(text.into_boxed_str()));
        Next::Finish(Cause::NotImplemented)
    }

    fn text(&self) -> String {
        format!("missing feature: {}", self.place.text())
    }
}
