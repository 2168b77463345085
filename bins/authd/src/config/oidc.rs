use authd_http::{OidcSetting, OidcSettingKind, OidcSettings};
use clap::error::{Error, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use serde::{Deserialize, Serialize};

/// How people sign in at an OpenID provider; `authd_http` lists these settings
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Oidc(pub(super) OidcSettings);

impl Args for Oidc {
    fn augment_args(command: Command) -> Command {
        command.args(OidcSetting::ALL.iter().map(|setting| {
            let OidcSetting { name, flag, variable, value, kind, .. } = *setting;
            let least = usize::from(kind != OidcSettingKind::Switch);
            let arg = Arg::new(name).long(flag).env(variable).value_name(value).num_args(least..=1);
            let arg = arg.default_missing_value("true").action(ArgAction::Append);
            let arg = arg.hide_env_values(kind == OidcSettingKind::Secret);
            arg.help(setting.help()).help_heading("OpenID Connect")
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Oidc {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        OidcSettings::of_texts(|name| Some(matches.get_many(name)?.cloned().collect()))
            .map_err(|wrong| Error::raw(ErrorKind::InvalidValue, wrong))
            .map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        Self::from_arg_matches(matches).map(|other| *self = other)
    }
}
