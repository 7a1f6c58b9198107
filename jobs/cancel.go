package jobs

import (
	"context"
	"errors"
)

// CancelledError is the cause with which the context of a run ends that somebody has cancelled: context.Cause. Such a run has not failed, and is not made up for; the next one goes on with
// what it began. What was wrong with the job before still is.
type CancelledError struct{ By string }

func (e *CancelledError) Error() string {
	if e.By == "" {
		return "cancelled"
	}
	return "cancelled by " + e.By
}

// isCancelled reports whether an error only says that the run was cancelled.
func isCancelled(err error) bool {
	_, ok := errors.AsType[*CancelledError](err)
	return ok
}

// Cancelled reports whether somebody has cancelled what the context is of.
func Cancelled(ctx context.Context) bool { return isCancelled(context.Cause(ctx)) }

// giveUp makes of a transfer that failed one that was cancelled, if the run was.
func (t *Transfer) giveUp(ctx context.Context) {
	if t.Result == ResultFailed && Cancelled(ctx) {
		t.Result, t.Error, t.Hint = ResultCancelled, context.Cause(ctx).Error(), ""
	}
}

// giveUp says in the account of a run that it was cancelled, if it was and err is no other reason for it to have ended.
func (rec *Record) giveUp(ctx context.Context, err error) {
	if !Cancelled(ctx) || err != nil && !isCancelled(err) && !errors.Is(err, context.Canceled) {
		return
	}
	rec.Error, rec.Hint, rec.NotNow = context.Cause(ctx).Error(), "", true
	if rec.failed() { // at another destination, before that
		rec.Error, rec.NotNow = "", false
		rec.settle()
		return
	}
	rec.Result = ResultCancelled
}
