//! What all ports have in common: they work through pointers, and behind `dyn`

use std::pin::Pin;

/// A boxed future, as the methods of object-safe ports return it
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Defines the object-safe twin of a port, and implements the port for the twin and for pointers
///
/// Arguments in brackets are passed by reference.
macro_rules! port {
    (
        $(#[$doc:meta])+
        $twin:ident of $port:ident
        $(fn $method:ident as $boxed:ident(
            [$($by_ref:ident: $referent:ty),*] $(, $by_value:ident: $value:ty)*
        ) -> $answer:ty;)+
    ) => {
        $(#[$doc])+
        pub trait $twin: Send + Sync {
            $(
                #[doc = concat!("Answers as [`", stringify!($port), "::", stringify!($method), "`]")]
                fn $boxed<'a>(
                    &'a self $(, $by_ref: &'a $referent)* $(, $by_value: $value)*
                ) -> $crate::BoxFuture<'a, Result<$answer, $crate::Cause>>;
            )+
        }

        impl<T: $port + Send> $twin for T {
            $(fn $boxed<'a>(
                &'a self $(, $by_ref: &'a $referent)* $(, $by_value: $value)*
            ) -> $crate::BoxFuture<'a, Result<$answer, $crate::Cause>> {
                Box::pin(async move {
                    let answer = self.$method($($by_ref,)* $($by_value,)*).await;
                    answer.map_err($crate::Cause::new)
                })
            })+
        }

        impl $port for dyn $twin + '_ {
            type Error = $crate::Cause;

            $(async fn $method(
                &self $(, $by_ref: &$referent)* $(, $by_value: $value)*
            ) -> Result<$answer, $crate::Cause> {
                self.$boxed($($by_ref,)* $($by_value,)*).await
            })+
        }

        $crate::port::port!(@pointers $port, [T::Error]
            $(fn $method([$($by_ref: $referent),*] $(, $by_value: $value)*) -> $answer;)+
        );
    };
    (@pointers $port:ident, [$error:ty] $($methods:tt)+) => {
        $crate::port::port!(@pointer $port, [$error], [T: $port + ?Sized] &T; $($methods)+);
        $crate::port::port!(@pointer $port, [$error], [T: $port + ?Sized] Box<T>; $($methods)+);
        $crate::port::port!(
            @pointer $port, [$error], [T: $port + Send + ?Sized] std::sync::Arc<T>; $($methods)+
        );
    };
    (
        @pointer $port:ident, [$error:ty], [$($bound:tt)+] $pointer:ty;
        $(fn $method:ident(
            [$($by_ref:ident: $referent:ty),*] $(, $by_value:ident: $value:ty)*
        ) -> $answer:ty;)+
    ) => {
        impl<$($bound)+> $port for $pointer {
            type Error = $error;

            $(fn $method(
                &self $(, $by_ref: &$referent)* $(, $by_value: $value)*
            ) -> impl Future<Output = Result<$answer, Self::Error>> + Send {
                T::$method(self $(, $by_ref)* $(, $by_value)*)
            })+
        }
    };
}

pub(crate) use port;
