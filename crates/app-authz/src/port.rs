//! What all ports have in common: they work through pointers, and behind `dyn`

use std::pin::Pin;

/// A boxed future, as the methods of object-safe ports return it
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Defines the object-safe twin of a port, and implements the port for the twin and for pointers
///
/// Arguments in brackets are passed by reference.
macro_rules! port {
    (
        $twin:ident of $port:ident
        $(fn $method:ident as $boxed:ident(
            [$($by_ref:ident: $referent:ty),*] $(, $by_value:ident: $value:ty)*
        ) -> $answer:ty;)+
    ) => {
        #[doc = concat!(
            "[`", stringify!($port), "`] behind `dyn`, for a host that chooses the ",
            "implementation at run time"
        )]
        ///
        #[doc = concat!(
            "Every `", stringify!($port), "` that is `Send` implements it, and `Arc<dyn ",
            stringify!($twin), ">` is a `", stringify!($port), "` again. Its error is a ",
            "[`Cause`](crate::Cause), which has the implementation's own error."
        )]
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

        $crate::port::port!(@pointers $port;
            $(fn $method([$($by_ref: $referent),*] $(, $by_value: $value)*) -> $answer;)+
        );
    };
    (@pointers $port:ident; $($methods:tt)+) => {
        $crate::port::port!(@pointer $port, [T: $port + ?Sized] &T; $($methods)+);
        $crate::port::port!(@pointer $port, [T: $port + ?Sized] Box<T>; $($methods)+);
        $crate::port::port!(
            @pointer $port, [T: $port + Send + ?Sized] std::sync::Arc<T>; $($methods)+
        );
    };
    (
        @pointer $port:ident, [$($bound:tt)+] $pointer:ty;
        $(fn $method:ident(
            [$($by_ref:ident: $referent:ty),*] $(, $by_value:ident: $value:ty)*
        ) -> $answer:ty;)+
    ) => {
        impl<$($bound)+> $port for $pointer {
            type Error = T::Error;

            $(fn $method(
                &self $(, $by_ref: &$referent)* $(, $by_value: $value)*
            ) -> impl Future<Output = Result<$answer, Self::Error>> + Send {
                T::$method(self $(, $by_ref)* $(, $by_value)*)
            })+
        }
    };
}

pub(crate) use port;
