#compdef redd
# zsh completion of redd: its options are those of redd --help.
_redd()
{
	local -a names
	names=(${(f)"$(redd --help 2>/dev/null | sed -n 's/^  \(-[a-zA-Z], \)\{0,1\}\(--[a-z-]*\).*/\2/p')"})
	case $words[CURRENT-1] in
	(--config|--port-file|--admin-key-file|--backup|--restore) _files ;;
	(--model|--state|--state-dir) _files -/ ;;
	(--log-format) compadd text json ;;
	(--log-level) compadd debug info warn error ;;
	(*) compadd -- $names ;;
	esac
}
_redd "$@"
